"""One HTTP request to a hub that may be slow, mad or hostile: bounded in time and in bytes.

Owns connections and nothing of what answers mean. The whole request has one deadline: a server that sends
a byte now and then does not prolong it.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from keys.errors import TrustError
from keys.hubclient.reference import check_url
from lib.errors import UnreachableError

MAX_ANSWER = 64 * 1024
"""Bytes of an answer where the caller says no other: a long chain of operations is far below it."""
DEADLINE = 10.0
"""Seconds for a whole request."""


@dataclass(frozen=True)
class Answer:
    """`retry_after` is in seconds, 0 where the hub names none."""

    status: int
    body: bytes
    kind: str
    retry_after: float

    @property
    def text(self) -> str:
        """The body as text.

        Raises: TrustError.
        """
        try:
            return self.body.decode()
        except UnicodeDecodeError as error:
            raise TrustError("the hub's answer is not UTF-8") from error


class Transport:
    """Requests to the hub at `url`, one connection each; `deadline` in seconds."""

    def __init__(
        self, url: str, *, deadline: float = DEADLINE, context: ssl.SSLContext | None = None
    ) -> None:
        self.url = check_url(url)
        self.deadline = deadline
        self._parts = urlsplit(self.url)
        self._context = context

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None,
        limit: int = MAX_ANSWER,
    ) -> Answer:  # fmt: skip
        """The answer to one request; no redirect is followed.

        Raises: UnreachableError; TrustError for an answer that is no HTTP, or longer than `limit`.
        """
        end = time.monotonic() + self.deadline
        bounded: _Bounded | None = None
        try:
            bounded = self._connect(end)
            connection = http.client.HTTPConnection(self._parts.netloc)
            connection.sock = bounded  # all that http.client uses of a socket
            sent = {"Accept": "text/plain, application/json", "Connection": "close", **(headers or {})}
            connection.request(method, self._parts.path + path, body, sent)
            response = connection.getresponse()
            raw = response.read(limit + 1)
            if len(raw) > limit:
                raise TrustError(
                    f"the hub {self.url} answered {path} with more than {limit} bytes", "is it a hub?"
                )
            if response.length:
                raise UnreachableError(f"the hub {self.url} broke off in its answer", "try again")
            return Answer(
                response.status, raw, response.headers.get_content_type(),
                _seconds(response.headers.get("Retry-After", "")),
            )  # fmt: skip
        except TimeoutError as error:
            raise UnreachableError(
                f"the hub {self.url} did not answer within {self.deadline:g} s", "try again later"
            ) from error
        except ssl.SSLCertVerificationError as error:
            raise UnreachableError(
                f"the certificate of {self.url} is not trusted: {error.verify_message}",
                "SSL_CERT_FILE=FILE names the certificates of a private authority",
            ) from error
        except http.client.HTTPException as error:
            raise TrustError(
                f"the hub {self.url} does not answer in HTTP ({type(error).__name__})", "is the URL right?"
            ) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UnreachableError(
                f"the hub {self.url} cannot be reached: {reason}", "is the address right, is it up?"
            ) from error
        finally:
            if bounded is not None:
                bounded.really_close()

    def _connect(self, end: float) -> _Bounded:
        """A connection whose every read and write ends at `end` of the monotonic clock."""
        host, secure = self._parts.hostname or "", self._parts.scheme == "https"
        raw = socket.create_connection(
            (host, self._parts.port or (443 if secure else 80)), timeout=_left(end)
        )
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if secure:
                raw.settimeout(_left(end))
                raw = (self._context or default_context()).wrap_socket(raw, server_hostname=host)
        except BaseException:
            raw.close()
            raise
        return _Bounded(raw, end)


def default_context() -> ssl.SSLContext:
    """The system's authorities (or SSL_CERT_FILE), and this user's own local CA, which can only name this
    machine."""
    from keys.datafolder import data_folder

    context = ssl.create_default_context()
    own = data_folder() / "ca/ca.pem"
    if own.is_file():
        context.load_verify_locations(own)
    return context


class _Bounded:
    """A socket as http.client uses it, with one deadline for everything."""

    def __init__(self, raw: socket.socket, end: float) -> None:
        self._raw, self._end = raw, end

    def sendall(self, data: bytes) -> None:
        self._raw.settimeout(_left(self._end))
        self._raw.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._raw, self._end))

    def close(self) -> None:
        """http.client calls it while the rest of an answer is still to be read: `really_close` ends it."""

    def really_close(self) -> None:
        self._raw.close()


class _Reader(io.RawIOBase):
    """Reads of a socket until `end`; endless headers end as well."""

    def __init__(self, raw: socket.socket, end: float) -> None:
        self._raw, self._end = raw, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what io hands over
        self._raw.settimeout(_left(self._end))
        return self._raw.recv_into(buffer)


def _left(end: float) -> float:
    """Seconds until `end`; 0 would mean a socket that does not block.

    Raises: TimeoutError.
    """
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline is over")
    return left


def _seconds(value: str) -> float:
    """Retry-After in seconds, its only form that a hub of ours sends; 0 for any other."""
    return float(value) if value.isascii() and value.isdigit() and len(value) < 6 else 0.0
