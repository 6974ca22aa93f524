"""Calls to other instances, for whoever is a part of this one: the node's modules and `ampzero call`.

Goes over the unix socket of the contact process, which knows keys, hub and addresses.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.contact.exchange import Exchange, Headers
from lib.contact.token import HOST_ID
from lib.errors import BY_EXIT_CODE, AmpzeroError, NotRunningError, UnreachableError, UsageError

ERROR = "ampzero-contact"
"""In answers that are the contact process's own and not the other instance's."""
TIMEOUT = "ampzero-timeout"
"""Seconds for each step, from who asks to the contact process."""
LARGEST = 16 * 1024 * 1024
"""Bytes of an answer that are taken into memory."""
_PATH = re.compile(r"/[!-~]*", re.ASCII)
_METHOD = re.compile(r"[A-Z]{1,20}", re.ASCII)
_OURS = 1.0
"""Seconds that the contact process has to say itself that the other instance takes too long."""


@dataclass(frozen=True)
class Answer:
    """What another instance answered: `headers` by their names in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 in it is replaced."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body's JSON.

        Raises: AmpzeroError where it is none.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise AmpzeroError(f"the answer (status {self.status}) is not JSON") from error


@dataclass(frozen=True)
class ContactClient:
    """Calls by way of the contact process at the unix socket `socket`."""

    socket: Path

    async def call(
        self, host: str, path: str, *, method: str = "GET", body: bytes = b"",
        headers: Mapping[str, str] | None = None, timeout: float = 30.0,
    ) -> Answer:  # fmt: skip
        """Ask the instance `host` (as host-7) for `path`, which may have a query; `timeout` in seconds is for
        each step. An answer of any status is an answer.

        Raises: MissingError (an unknown id, or it announces nothing), RefusedError (a key was not the one
        that is trusted, here or there), UnreachableError, NotRunningError (no contact process), UsageError.
        """
        if not HOST_ID.fullmatch(host):
            raise UsageError(f"{host[:40]!r} is not the id of a host", "as host-7")
        if not _PATH.fullmatch(path) or not _METHOD.fullmatch(method):
            raise UsageError(
                f"{method[:20]} {path[:60]!r} is not a request", "a path begins with /; encode others as %20"
            )
        exchange = await self._connect(timeout)
        try:
            sent = [
                (name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()
            ]
            sent += [(b"host", host.encode()), (TIMEOUT.encode(), f"{timeout:g}".encode())]
            if body or method not in ("GET", "HEAD"):
                sent.append((b"content-length", str(len(body)).encode()))
            try:
                status, got = await exchange.ask(
                    method.encode(), f"/call/{host}{path}".encode(), sent, _once(body)
                )
            except ValueError as error:
                raise UsageError(str(error)) from error
            return _answer(status, got, await _whole(exchange))
        except UnicodeEncodeError as error:
            raise UsageError("a header has characters that no header may have") from error
        finally:
            await exchange.close()

    async def _connect(self, timeout: float) -> Exchange:
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
        except OSError as error:
            raise NotRunningError(
                "the contact process of this instance does not answer", "see ampzero status, and ampzero logs"
            ) from error
        return Exchange(reader, writer, "the contact process", timeout + _OURS)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body


async def _whole(exchange: Exchange) -> bytes:
    found = bytearray()
    async for piece in exchange.pieces():
        found += piece
        if len(found) > LARGEST:
            raise UnreachableError(f"the answer has more than {LARGEST} bytes", "ask for it in parts")
    return bytes(found)


def _answer(status: int, got: Headers, body: bytes) -> Answer:
    """The answer; an error of the contact process's own is raised here again."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in got}
    if ERROR not in headers:
        return Answer(status, headers, body)
    try:
        said = json.loads(body)
        kind = BY_EXIT_CODE.get(said["exit_code"], AmpzeroError)
        error = kind(str(said["error"]), str(said["hint"]))
    except (ValueError, KeyError, TypeError):
        error = AmpzeroError(f"the contact process answered {status}")
    raise error
