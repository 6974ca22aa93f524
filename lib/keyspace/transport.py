"""One request to one of several etcd endpoints, with a short deadline and one retry where that is safe.

Owns the connection and the translation of its errors. A connection serves one request: so there are no
stale ones, and a connection that could not be made is always safe to try again.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import msgspec

from lib.errors import AmpzeroError, UsageError
from lib.keyspace.wire import Failure

if TYPE_CHECKING:
    # Loaded by those who have some: a keyspace of one machine speaks no TLS.
    from lib.keyspace.credentials import Credentials

Answer = TypeVar("Answer")

LARGEST_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer that are read at most."""
UNAVAILABLE = 14
"""gRPC's status UNAVAILABLE: there is no leader just now, or it changed."""
PAUSE = 0.3
"""Seconds before the retry: time for one election in single mode."""


class KeyspaceError(AmpzeroError):
    """The store refused a request, or gave an answer that makes no sense."""


class UnavailableError(KeyspaceError):
    """No endpoint answered within the deadline; a write may or may not have been done."""

    exit_code = 10


class UnreachableError(UnavailableError):
    """No connection could be made: nothing was done."""


class Transport:
    """Sends to the endpoint that answered last; thread-safe."""

    def __init__(
        self, endpoints: Sequence[str], deadline: float, credentials: Credentials | None = None
    ) -> None:
        """`endpoints` are http://host:port, with `credentials` https://host:port; `deadline` is for one try,
        in seconds.

        Raises: UsageError for an endpoint that is not one, and for credentials that cannot be used.
        """
        scheme = "https" if credentials else "http"
        self.endpoints = tuple(address_of(endpoint, scheme) for endpoint in endpoints)
        self._credentials = credentials
        self._tls = (credentials.context(), credentials.version()) if credentials else None
        self.deadline = deadline
        self._preferred = 0
        if not self.endpoints:
            raise UsageError("keyspace: no endpoint was given")

    def call(
        self, path: str, body: Mapping[str, object], answer: type[Answer], *, repeatable: bool = False
    ) -> Answer:
        """POST `body` to `/v3/PATH`, once more when that is safe: `repeatable`, or nothing was sent.

        Raises: UnavailableError, KeyspaceError.
        """
        try:
            return self._round(path, body, answer, repeatable)
        except UnreachableError:
            pass
        except UnavailableError:
            if not repeatable:
                raise
        time.sleep(PAUSE)
        return self._round(path, body, answer, repeatable)

    def _round(self, path: str, body: Mapping[str, object], answer: type[Answer], repeatable: bool) -> Answer:
        """Try the endpoints in turn, the one that answered last first."""
        first = self._preferred
        failure: UnavailableError | None = None
        for step in range(len(self.endpoints)):
            number = (first + step) % len(self.endpoints)
            try:
                result = self._once(self.endpoints[number], path, body, answer)
            except UnavailableError as error:
                failure = error
                if not (repeatable or isinstance(error, UnreachableError)):
                    raise
            else:
                self._preferred = number
                return result
        assert failure is not None  # noqa: S101 -- there is at least one endpoint
        raise failure

    def _connection(self, endpoint: tuple[str, int]) -> http.client.HTTPConnection:
        if self._credentials is None or self._tls is None:
            return http.client.HTTPConnection(*endpoint, timeout=self.deadline)
        if (version := self._credentials.version()) != self._tls[1]:
            self._tls = (self._credentials.context(), version)  # a deploy has renewed them
        return http.client.HTTPSConnection(*endpoint, timeout=self.deadline, context=self._tls[0])

    def _once(
        self, endpoint: tuple[str, int], path: str, body: Mapping[str, object], answer: type[Answer]
    ) -> Answer:
        where = f"keyspace at {endpoint[0]}:{endpoint[1]}"
        connection = self._connection(endpoint)
        try:
            try:
                connection.connect()
            except OSError as error:
                raise UnreachableError(
                    f"{where} does not answer: {error}", "is the instance running? ampzero status"
                ) from error
            try:
                connection.request(
                    "POST", f"/v3/{path}", msgspec.json.encode(body), {"Content-Type": "application/json"}
                )
                response = connection.getresponse()
                data = response.read(LARGEST_ANSWER + 1)
            except (OSError, http.client.HTTPException) as error:
                raise UnavailableError(
                    f"{where}: no answer within {self.deadline:g} s: {str(error) or type(error).__name__}",
                    "a write may or may not have been done",
                ) from error
        finally:
            connection.close()
        return decoded(where, response.status, data, answer)


def decoded(where: str, status: int, data: bytes, answer: type[Answer]) -> Answer:
    """The answer out of the response's body.

    Raises: KeyspaceError, UnavailableError.
    """
    if len(data) > LARGEST_ANSWER:
        raise KeyspaceError(
            f"{where}: the answer is larger than {LARGEST_ANSWER} bytes", "ask for fewer keys"
        )
    try:
        if status == 200:
            return msgspec.json.decode(data, type=answer)
        failure = msgspec.json.decode(data, type=Failure)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KeyspaceError(f"{where}: not an answer of etcd's v3 API (status {status})") from error
    message = (failure.message or failure.error).removeprefix("etcdserver: ")
    if failure.code == UNAVAILABLE or status == 503:
        raise UnavailableError(f"{where}: {message}", "a write may or may not have been done")
    raise KeyspaceError(f"{where}: {message}")


def address_of(endpoint: str, scheme: str = "http") -> tuple[str, int]:
    """The host and port of http://host:port, or of the other `scheme`.

    Raises: UsageError.
    """
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme != scheme or not host or not port:
        raise UsageError(f"keyspace: {endpoint!r} is not {scheme}://host:port")
    return host, port
