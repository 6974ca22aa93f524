"""Prometheus's GET /metrics, by option, on an address that is this machine's own unless another is given.

A page in a browser here may have a name of its own point to this machine, and read what answers (DNS
rebinding): so a request must name this machine, or an address, which no name server can turn elsewhere.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from typing import Any

from lib.control.httpserver import HttpServer, Request, Response
from lib.errors import ConfigError, TakenError

LOOPBACK = "127.0.0.1"
BACKLOG = 16


def parse(address: str | int) -> tuple[str, int]:
    """Host and port of `9100`, `host:9100` or `[::1]:9100`; the host is the loopback when none is given.

    Raises: ConfigError.
    """
    host, _, port = str(address).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
        raise ConfigError(f"metrics: {str(address)[:60]!r} is no address", "as 9100 or 127.0.0.1:9100")
    return host or LOOPBACK, int(port)


def listen(address: str | int) -> socket.socket:
    """A listening socket at `address`.

    Raises: ConfigError, TakenError.
    """
    host, port = parse(address)
    try:
        family, kind, _, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0]
    except OSError:
        raise ConfigError(f"metrics: {host!r} is no IP address", "as 9100 or 127.0.0.1:9100") from None
    listening = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.setblocking(False)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise TakenError(f"metrics: {host}:{port}: {error.strerror}", "choose another port") from None
    return listening


def names_us(host: str) -> bool:
    """Whether a Host header, with or without a port, names this machine: by an IP address, localhost or its
    host name. An empty one passes: every browser names a host."""
    name = host.removeprefix("[").partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    own = socket.gethostname().lower()
    if not host or name.lower().removesuffix(".") in ("localhost", own, own.partition(".")[0]):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class MetricsFace:
    """Answers Prometheus from the running loop, from `open` to `close`."""

    def __init__(self, address: str | int, status: Callable[[], dict[str, Any]]) -> None:
        """Raises: ConfigError, TakenError."""
        self._status = status
        self._looking = asyncio.Lock()
        self._server = HttpServer(listen(address), self._answer, peers=False)

    async def open(self) -> None:
        """Begin to accept."""
        await self._server.open()

    async def close(self) -> None:
        """Accept no longer."""
        await self._server.close(timeout=0.1)

    async def _answer(self, request: Request) -> Response:
        from lib.control.metrics import CONTENT_TYPE, expose

        if not names_us(request.headers.get("host", "")):
            return Response(b"ask for this machine by its address, its host name or localhost\n", 421)
        if request.target.partition("?")[0] != "/metrics":
            return Response(b"metrics are at /metrics\n", 404)
        if request.method != "GET":
            return Response(b"only GET\n", 405)
        # One look at /proc at a time, beside the loop: it takes tens of milliseconds with many processes.
        async with self._looking:
            text = await asyncio.to_thread(expose, self._status())
        return Response(text.encode(), type=CONTENT_TYPE)
