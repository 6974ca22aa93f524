"""Where services listen, as amprun.yaml says it: single addresses, and no two at the same one."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import NamedTuple

from lib.instance import SOCKET_PATH_MAX

HIGHEST = 65535
EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 -- compared with, not bound to


class Address(NamedTuple):
    """`host` and `port`, or the `path` of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        """For a person: `port 8000`, `unix:/path`."""
        return f"unix:{self.path}" if self.path else f"port {self.port}"


def parse(value: int | str, *, names: frozenset[str] = frozenset({"localhost"})) -> Address:
    """`8000`, `127.0.0.1:8000`, `[::1]:8000` or `unix:/path`; a port alone means this machine only.

    A host is an IP address, or one of `names`.

    Raises: ValueError.
    """
    text = str(value)
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path or "\0" in path or path.endswith("/"):
            raise ValueError("names no socket")
        if len(path.encode()) > SOCKET_PATH_MAX:
            raise ValueError(f"is too long for a socket: at most {SOCKET_PATH_MAX} bytes")
        return Address(path=path)
    host, colon, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and 1 <= int(port[:6]) <= HIGHEST):
        raise ValueError(f"the port must be from 1 to {HIGHEST}")
    if not colon:
        return Address("127.0.0.1", int(port))
    if host not in names and not is_ip(host):
        raise ValueError(f"{host!r} is no IP address")
    return Address("127.0.0.1" if host == "localhost" else host.strip("[]"), int(port))


def is_ip(host: str) -> bool:
    """Whether `host` is an IPv4 address, or an IPv6 one in brackets."""
    family = socket.AF_INET6 if host.startswith("[") and host.endswith("]") else socket.AF_INET
    with suppress(OSError, ValueError):
        socket.inet_pton(family, host[1:-1] if family == socket.AF_INET6 else host)
        return True
    return False


class Claims:
    """Who has which address."""

    def __init__(self) -> None:
        self._ports: dict[int, list[tuple[str, str]]] = {}
        self._paths: dict[str, str] = {}

    def claim(self, address: Address, who: str) -> str:
        """Note `address` as that of `who`; who has it already, or empty."""
        if address.path:
            holder = self._paths.setdefault(address.path, who)
            return "" if holder is who else holder
        known = self._ports.setdefault(address.port, [])
        for host, holder in known:
            if holder is not who and (host == address.host or {host, address.host} & EVERYWHERE):
                return holder
        known.append((address.host, who))
        return ""
