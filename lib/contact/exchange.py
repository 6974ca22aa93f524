"""One HTTP/1.1 request over a connection that is open already, and its answer as it comes: RFC 9112 by h11.

Used for the unix socket of the contact process and, by that, for connections to other instances.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any

import h11

from lib.errors import UnreachableError

CHUNK = 64 * 1024
LONGEST_HEAD = 64 * 1024
"""Bytes of an answer's status line and headers."""
ENDED_BY_US = {b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"proxy-connection", b"expect",
               b"transfer-encoding"}  # fmt: skip
"""Headers of one connection, which nobody hands on (RFC 9110, section 7.6.1)."""
Headers = list[tuple[bytes, bytes]]


class Exchange:
    """A request and its answer. `timeout` is for each step: a piece sent, the answer's head, a piece of it.

    Every call may raise UnreachableError: the other side broke off, took too long, or speaks no HTTP.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, whom: str, timeout: float
    ) -> None:
        self._reader, self._writer, self._whom, self._timeout = reader, writer, whom, timeout
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=LONGEST_HEAD)

    async def ask(
        self, method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]], body: AsyncIterator[bytes]
    ) -> tuple[int, Headers]:
        """Send the request; the answer's status and headers, the latter in small letters.

        Raises: ValueError for a request that HTTP does not allow.
        """
        try:
            head = h11.Request(method=method, target=target, headers=[*headers, (b"connection", b"close")])
        except h11.LocalProtocolError as error:
            raise ValueError(f"not a request: {error}") from error
        # A side that refuses a long body answers before all of it was sent, and takes no more.
        with suppress(ConnectionError):
            await self._send(head)
            async for piece in body:
                await self._send(h11.Data(data=piece))
            await self._send(h11.EndOfMessage())
        event = await self._next()
        while isinstance(event, h11.InformationalResponse):
            event = await self._next()
        if not isinstance(event, h11.Response):
            raise UnreachableError(f"{self._whom} broke off without an answer", "try again")
        return event.status_code, [(name, value) for name, value in event.headers if name not in ENDED_BY_US]

    async def pieces(self) -> AsyncIterator[bytes]:
        """The answer's body."""
        while True:
            event = await self._next()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            else:
                raise UnreachableError(f"{self._whom} broke off in its answer", "try again")

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self._writer.wait_closed()

    async def _send(self, event: Any) -> None:
        try:
            raw = self._http.send(event)
        except h11.LocalProtocolError as error:
            raise ValueError(f"not a request: {error}") from error
        if raw:
            self._writer.write(raw)
            async with self._limit():
                await self._writer.drain()

    async def _next(self) -> Any:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                async with self._limit():
                    self._http.receive_data(await self._reader.read(CHUNK))
        except h11.RemoteProtocolError as error:
            raise UnreachableError(
                f"{self._whom} broke off, or answers no HTTP: {error}", "try again"
            ) from error
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise UnreachableError(
                f"the connection to {self._whom} is lost: {reason}", "try again"
            ) from error
        return event

    def _limit(self) -> Any:
        return _Limit(self._timeout, self._whom)


class _Limit:
    """asyncio.timeout, with our error."""

    def __init__(self, seconds: float, whom: str) -> None:
        self._timeout, self._seconds, self._whom = asyncio.timeout(seconds), seconds, whom

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *about: Any) -> None:
        try:
            await self._timeout.__aexit__(*about)
        except TimeoutError as error:
            raise UnreachableError(
                f"{self._whom} did not answer within {self._seconds:g} s", "try again later"
            ) from error
