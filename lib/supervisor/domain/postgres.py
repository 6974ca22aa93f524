"""PostgreSQL: what pg_isready asks (libpq's PQping): does the server take a connection now?

A startup packet of protocol 3.0 (postgresql.org/docs, Frontend/Backend Protocol: Message Formats). Ready when
it is answered by anything but 57P03 (cannot_connect_now: it starts, stops or recovers): a refused user or an
unknown database is an answer of a server that works. Where it lets us in, it tells its version and role, too.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import struct
from pathlib import Path

from lib.supervisor.probes import ProbeError, connect

PORT = 5432
PROTOCOL = 3 << 16
DATABASE = "postgres"
"""There is one of this name in every cluster."""
CANNOT_CONNECT_NOW = "57P03"
MESSAGE_MAX = 8192
MESSAGES_MAX = 100
SOCKET_PREFIX = ".s.PGSQL."
TYPES = b"RESKZNv"
"""Of the messages that may come: authentication, error, parameter, key, ready, notice, protocol version."""


async def ask(target: str) -> str:
    """`accepting connections`, and what more it tells: `15.4, standby`. See `address` for targets.

    Raises: ProbeError, OSError, ValueError, EOFError.
    """
    reader, writer = await connect(address(target))
    try:
        writer.write(startup(_user()))
        told = await _hear(reader)
        writer.write(b"X" + struct.pack("!I", 4))
    finally:
        writer.close()
    version = told.get("server_version", "").split(" ")[0]
    standby = {"on": "standby", "off": "primary"}.get(told.get("in_hot_standby", ""), "")
    return ", ".join(word for word in ("accepting connections", version, standby) if word)


def address(target: str) -> str:
    """`target` to connect to: `host:port`, or `unix:` with the socket or the folder that it is in."""
    path = target.removeprefix("unix:")
    if path == target or Path(path).name.startswith(SOCKET_PREFIX):
        return target
    return f"unix:{path.rstrip('/')}/{SOCKET_PREFIX}{PORT}"


def startup(user: str) -> bytes:
    """The startup packet."""
    words = ("user", user, "database", DATABASE, "application_name", "ampzero")
    body = struct.pack("!I", PROTOCOL) + b"".join(word.encode() + b"\0" for word in words) + b"\0"
    return struct.pack("!I", len(body) + 4) + body


async def _hear(reader: asyncio.StreamReader) -> dict[str, str]:
    """The parameters that it tells; none where it asks for a password, or refuses us.

    Raises: ProbeError, OSError, EOFError.
    """
    told: dict[str, str] = {}
    for _ in range(MESSAGES_MAX):
        kind, size = struct.unpack("!cI", await reader.readexactly(5))
        if kind not in TYPES or not 4 <= size <= MESSAGE_MAX:
            raise ProbeError("it does not speak PostgreSQL's protocol")
        body = await reader.readexactly(size - 4)
        if kind == b"E":
            fields = {field[:1]: field[1:].decode(errors="replace") for field in body.split(b"\0") if field}
            if fields.get(b"C") == CANNOT_CONNECT_NOW:
                raise ProbeError(f"postgres takes no connections: {fields.get(b'M', '')[:100]}")
            return told
        if kind == b"Z" or (kind == b"R" and body[:4] != bytes(4)):
            return told
        if kind == b"S":
            name, _, value = body.rstrip(b"\0").partition(b"\0")
            told[name.decode(errors="replace")] = value.decode(errors="replace")
    return told


def _user() -> str:
    """Ours, as libpq does it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return DATABASE
