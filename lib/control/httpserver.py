"""A small HTTP/1.1 server for local clients: bounded in every direction, on plain asyncio streams.

Takes what supervisorctl, curl and Prometheus send: GET and POST, Content-Length bodies, keep-alive. Refuses
the rest (RFC 9112): chunked requests, folded headers, two lengths. Owns no routes: `handler` answers.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

HEAD_MAX = 8 * 1024
"""Bytes of a request's first line and its headers together."""
BODY_MAX = 256 * 1024
CONNECTIONS_MAX = 48
"""With more, the one that has kept us waiting for its request the longest is dropped: slow clients cannot
keep others out. Each may hold HEAD_MAX and BODY_MAX."""
BACKLOG = 128
"""Connections that the kernel keeps for us until we take them."""
REQUEST_TIME = 10.0
"""Seconds from a request's first byte to its last, and for an answer to be taken."""
IDLE_TIME = 60.0
"""Seconds that a connection may wait for its next request."""

REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
           408: "Request Timeout", 411: "Length Required", 413: "Content Too Large",
           421: "Misdirected Request", 431: "Request Header Fields Too Large",
           500: "Internal Server Error", 501: "Not Implemented"}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """One request; `headers` by small-letter name."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Response:
    """An answer: `body`, or `stream`, which is sent as chunks as they come."""

    body: bytes = b""
    status: int = 200
    type: str = "text/plain; charset=utf-8"
    stream: AsyncIterator[bytes] | None = None
    headers: dict[str, str] = field(default_factory=dict)


class Refused(Exception):
    """A request that is not one, with the status that says so."""

    def __init__(self, status: int) -> None:
        super().__init__(REASONS[status])
        self.status = status


Handler = Callable[[Request], Awaitable[Response]]


class HttpServer:
    """Serves `handler` on a listening socket, from `open` to `close`, in the running loop.

    `peers`: let only the own user and root in, as the kernel names them (unix sockets).
    """

    def __init__(self, listening: socket.socket, handler: Handler, *, peers: bool) -> None:
        self._listening = listening
        self._handler = handler
        self._peers = peers
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: dict[asyncio.Task[None], None] = {}
        """Those that wait for a request or its rest, the longest first."""
        self._streams: set[asyncio.Event] = set()
        self._closing = False
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Begin to accept."""
        self._server = await asyncio.start_server(
            self._connected, sock=self._listening, limit=HEAD_MAX, backlog=BACKLOG
        )

    async def close(self, timeout: float = 1.0) -> None:
        """Accept no longer; let answers that are under way be sent, for `timeout` seconds; drop the rest."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        self._listening.close()
        for task in list(self._reading):
            task.cancel()
        for ended in self._streams:
            ended.set()
        others = set(self._tasks)
        if others:
            await asyncio.wait(others, timeout=timeout)
        for task in others:
            task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or not self._may(writer) or not self._make_room():
            writer.close()
            return
        self._tasks.add(task)
        try:
            while await self._serve_one(task, reader, writer):
                pass
        except (OSError, TimeoutError, EOFError, asyncio.IncompleteReadError):
            pass  # the client went away or took too long; there is nobody to tell
        except asyncio.CancelledError:
            pass  # the supervisor ends, or others need the room
        finally:
            self._tasks.discard(task)
            self._reading.pop(task, None)
            if writer.transport.get_write_buffer_size():
                # Who does not read would keep the buffer in memory for ever.
                writer.transport.abort()
            writer.close()

    def _make_room(self) -> bool:
        """Whether there is room for one more connection."""
        if len(self._tasks) < CONNECTIONS_MAX:
            return True
        for task in self._reading:
            del self._reading[task]
            self._tasks.discard(task)
            task.cancel()
            return True
        return False

    def _may(self, writer: asyncio.StreamWriter) -> bool:
        if not self._peers:
            return True
        with suppress(OSError, struct.error):
            raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            _, uid, _ = struct.unpack("3i", raw)
            return uid in (os.getuid(), 0)
        return False

    async def _serve_one(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection may stay open."""
        self._reading[task] = None
        try:
            async with asyncio.timeout(IDLE_TIME):
                first = await reader.read(1)
            if not first:
                return False
            async with asyncio.timeout(REQUEST_TIME):
                request = await _read(first, reader)
        except Refused as refused:
            await _send(writer, Response(f"{refused}\n".encode(), refused.status), keep=False)
            return False
        finally:
            self._reading.pop(task, None)
        try:
            response = await self._handler(request)
        except Exception:
            # A mistake of ours: whoever asked must hear of it, and the server goes on.
            traceback.print_exc()
            response = Response(b"the supervisor made a mistake\n", 500)
        keep = (
            response.stream is None
            and not self._closing
            and request.headers.get("connection", "").lower() != "close"
        )
        if response.stream is not None:
            ended = asyncio.Event()
            self._streams.add(ended)
            try:
                await _send_stream(writer, reader, response, response.stream, ended)
            finally:
                self._streams.discard(ended)
        else:
            await _send(writer, response, keep=keep)
        return keep


async def _read(first: bytes, reader: asyncio.StreamReader) -> Request:
    """Raises: Refused; asyncio.IncompleteReadError when the client goes."""
    try:
        head = first + await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise Refused(431) from None
    lines = head[:-4].decode("latin-1").lstrip("\r\n").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        raise Refused(400)
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise Refused(400)
        if name.lower() in headers and name.lower() in ("content-length", "host"):
            raise Refused(400)
        headers[name.lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise Refused(501)
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit() and len(length) < 10):
        raise Refused(400)
    if int(length) > BODY_MAX:
        raise Refused(413)
    return Request(words[0], words[1], headers, await reader.readexactly(int(length)))


async def _send(writer: asyncio.StreamWriter, response: Response, *, keep: bool) -> None:
    _write_head(writer, response, {"Content-Length": str(len(response.body)),
                                   **({} if keep else {"Connection": "close"})})  # fmt: skip
    writer.write(response.body)
    async with asyncio.timeout(REQUEST_TIME):
        await writer.drain()


async def _send_stream(
    writer: asyncio.StreamWriter, reader: asyncio.StreamReader, response: Response,
    stream: AsyncIterator[bytes], ended: asyncio.Event,
) -> None:  # fmt: skip
    """Until `ended` is set, `stream` ends or the client goes; one that does not read holds up the stream."""
    _write_head(writer, response, {"Transfer-Encoding": "chunked", "Connection": "close"})
    writer.transport.set_write_buffer_limits(high=64 * 1024)
    gone = asyncio.ensure_future(_until_gone(reader))
    pump = asyncio.ensure_future(_pump(writer, stream))
    end = asyncio.ensure_future(ended.wait())
    parts: tuple[asyncio.Future[Any], ...] = (gone, pump, end)
    try:
        await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)


async def _pump(writer: asyncio.StreamWriter, stream: AsyncIterator[bytes]) -> None:
    async for chunk in stream:
        if chunk:
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _until_gone(reader: asyncio.StreamReader) -> None:
    while await reader.read(1024):
        pass


def _write_head(writer: asyncio.StreamWriter, response: Response, more: dict[str, str]) -> None:
    headers = {"Content-Type": response.type, **response.headers, **more}
    lines = [f"HTTP/1.1 {response.status} {REASONS[response.status]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
