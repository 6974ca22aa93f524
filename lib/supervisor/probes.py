"""Asking a process whether it is ready: tcp and http here; exec runs a command; log and notify are heard.

A probe either returns or raises ProbeError with what was wrong, in a few words for `status`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

from lib.supervisor import scarcity
from lib.supervisor.spec import Probe

LOOPBACK = ("::1", "127.0.0.1")
"""What localhost stands for; the last one's error is the one that is told."""

ANSWER_MAX = 4096
"""Bytes of an answer that a probe looks at."""


class ProbeError(Exception):
    """The process is not ready; the text says what was seen."""


class NotAskedError(ProbeError):
    """The probe could not be made for want of room on our side: that says nothing of the process."""


async def ask(probe: Probe) -> str:
    """Probe once by tcp, http or a system's own protocol, for `probe.timeout` seconds: the facts it learnt.

    Raises: ProbeError.
    """
    try:
        async with asyncio.timeout(probe.timeout):
            if probe.domain:
                # Loaded by those who have one.
                from lib.supervisor import domain

                return await domain.ask(probe)
            await (_http(probe) if probe.kind == "http" else _tcp(probe))
            return ""
    except TimeoutError:
        raise ProbeError(f"no answer from {probe.target} within {probe.timeout:g} s") from None
    except OSError as error:
        if error.errno in scarcity.OURS:
            raise NotAskedError(f"cannot ask {probe.target}: {scarcity.words(error)}") from None
        reason = (
            "connection refused" if isinstance(error, ConnectionRefusedError) else error.strerror or error
        )
        raise ProbeError(f"{probe.target}: {reason}") from None
    except RuntimeError as error:  # no room for a thread, which a resolver is asked in
        raise NotAskedError(f"cannot ask {probe.target}: {error}") from None
    except ValueError as error:  # a host name that cannot be one, and the like
        raise ProbeError(f"{probe.target}: {error}") from None


async def connect(target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to `host:port` or `unix:/path`; with the names of this machine, over IPv6 and IPv4.

    Raises: OSError, ValueError.
    """
    if target.startswith("unix:"):
        return await asyncio.open_unix_connection(target.removeprefix("unix:"), limit=ANSWER_MAX)
    name, _, port = target.rpartition(":")
    host = name.strip("[]") or "localhost"
    # Both by their numbers: a resolver may know only one of them, and would cost a thread.
    *first, last = LOOPBACK if host == "localhost" else (host,)
    for address in first:
        with suppress(OSError):
            return await _open(address, int(port))
    return await _open(last, int(port))


async def _open(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(host, port, limit=ANSWER_MAX)
    if writer.get_extra_info("sockname") == writer.get_extra_info("peername"):
        # Nobody listens, but the kernel lent us that very port for our own end, and we met ourselves.
        writer.transport.abort()
        raise ConnectionRefusedError
    return reader, writer


async def _tcp(probe: Probe) -> None:
    reader, writer = await connect(probe.target)
    try:
        if probe.send:
            writer.write(probe.send.encode())
        if probe.expect:
            wanted = probe.expect.encode()
            answer = await _read(reader, len(wanted))
            if answer != wanted:
                raise ProbeError(f"{probe.target} answered {answer.decode(errors='replace').strip()!r}")
    finally:
        writer.close()


async def _http(probe: Probe) -> None:
    if probe.target.startswith("http+unix:"):
        address, _, path = probe.target.removeprefix("http+unix:").rpartition(":")
        host, target = "localhost", f"unix:{address}"
    else:
        url = urlsplit(probe.target)
        host, path = url.netloc, (url.path or "/") + (f"?{url.query}" if url.query else "")
        target = f"{url.hostname}:{url.port or 80}"
    reader, writer = await connect(target)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        status = (await _read(reader, 12)).split(b" ")
        if len(status) < 2 or not status[1].isdigit():
            raise ProbeError(f"{probe.target} does not speak HTTP")
        if not 200 <= int(status[1]) < 400:
            raise ProbeError(f"{probe.target} answered {int(status[1])}")
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader, size: int) -> bytes:
    try:
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        return error.partial
