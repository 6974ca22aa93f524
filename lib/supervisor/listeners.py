"""Sockets that the supervisor listens on for its services, so that a restart loses no connection.

A socket is made when its first child starts, is handed to every child that names its address, and lives
until the service leaves the plan. A supervisor that takes over a dead one's children takes the sockets back
from them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

BACKLOG = 1024
"""Connections that wait while nobody accepts: what a restart may have to bridge."""

PIDFD_GETFD = 438
"""The number of pidfd_getfd(2), the same on every architecture."""


class Listeners:
    """The listening sockets by address: `host:port` or `unix:/path`."""

    def __init__(self, handed: Mapping[str, int] | None = None) -> None:
        """`handed` are the descriptors, by address, of those that the supervisor before had."""
        self._open = {address: socket.socket(fileno=handle) for address, handle in (handed or {}).items()}
        self._shared: set[str] = set()
        """Addresses on which an adopted child listens with a socket that could not be taken back."""

    def get(self, address: str) -> int:
        """The descriptor of the socket at `address`, made at the first call.

        Raises: OSError when it cannot be made.
        """
        if address not in self._open:
            self._open[address] = listen(address, shared=address in self._shared)
        return self._open[address].fileno()

    def handles(self) -> dict[str, int]:
        """The descriptors of all, by address."""
        return {address: one.fileno() for address, one in self._open.items()}

    def take_back(self, address: str, pid: int, descriptor: int) -> None:
        """Take the socket at `address` from the adopted child `pid`, whose `descriptor` it is.

        A program may have moved it elsewhere, and have another file there: all its sockets are looked at.
        Where the kernel does not let us (Yama's ptrace_scope), the next child gets a new socket beside it.
        """
        if address in self._open:
            return
        self._shared.add(address)
        with suppress(OSError):
            handle = os.pidfd_open(pid)
            try:
                for candidate in [descriptor, *_descriptors(pid)]:
                    taken = _take(handle, candidate)
                    if taken is not None and _listens_at(taken, address):
                        taken.set_inheritable(False)
                        self._open[address] = taken
                        return
                    if taken is not None:
                        taken.close()
            finally:
                os.close(handle)

    def close(self, address: str) -> None:
        """Stop listening at `address`; harmless when it was done."""
        if (old := self._open.pop(address, None)) is not None:
            old.close()
            if address.startswith("unix:"):
                Path(address.removeprefix("unix:")).unlink(missing_ok=True)

    def keep(self, addresses: Iterable[str]) -> None:
        """Stop listening at all but `addresses`."""
        for address in self._open.keys() - set(addresses):
            self.close(address)

    def close_all(self) -> None:
        """Stop listening everywhere."""
        for address in list(self._open):
            self.close(address)


def _descriptors(pid: int) -> list[int]:
    """The open sockets of `pid`."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 -- names only
        with suppress(OSError):
            if str(Path(f"/proc/{pid}/fd/{name}").readlink()).startswith("socket:"):
                found.append(int(name))
    return sorted(found)


def _take(handle: int, descriptor: int) -> socket.socket | None:
    """A copy of the socket `descriptor` of the process of the pidfd `handle`; None when it is none."""
    found = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, handle, descriptor, 0)
    if found < 0:
        return None
    try:
        return socket.socket(fileno=found)
    except OSError:
        os.close(found)
        return None


def _listens_at(one: socket.socket, address: str) -> bool:
    if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    name = one.getsockname()
    if one.family == socket.AF_UNIX:
        return address == f"unix:{name}"
    host, _, port = address.rpartition(":")
    try:
        # As bind(2) took it: `localhost` and `` are addresses by then.
        wanted = socket.getaddrinfo(host.strip("[]") or None, int(port), one.family, flags=socket.AI_PASSIVE)
    except (OSError, ValueError):
        return False
    return any(name[:2] == found[4][:2] for found in wanted)


def listen(address: str, *, shared: bool = False) -> socket.socket:
    """A new listening socket at `address`; a unix socket has mode 0600 and replaces a stale one.

    `shared`: another of ours may listen there already.

    Raises: OSError, with the address in `filename`.
    """
    try:
        made = (
            _bind_unix(address.removeprefix("unix:"), shared)
            if address.startswith("unix:")
            else _bind(address, shared)
        )
        made.listen(BACKLOG)
    except (OSError, ValueError, OverflowError) as error:
        number = error.errno if isinstance(error, OSError) else errno.EINVAL
        raise OSError(number, os.strerror(number or errno.EINVAL), address) from error
    return made


def _bind_unix(path: str, shared: bool) -> socket.socket:
    # Only a socket goes, and only one at which nobody listens: what else is there makes the bind fail.
    if Path(path).is_socket() and (shared or not _answers(path)):
        Path(path).unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        made.bind(path)
    except OSError:
        made.close()
        raise
    finally:
        os.umask(before)
    return made


def _answers(path: str) -> bool:
    """Whether anybody listens at the unix socket `path`."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)
        try:
            asking.connect(path)
        except BlockingIOError:
            return True  # and has more to do than it takes
        except OSError:
            return False
        return True


def _bind(address: str, shared: bool) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if not shared:
        # SO_REUSEPORT, which a later supervisor may need, would also let a second instance in beside us.
        with socket.socket(family) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind((host.strip("[]"), int(port)))
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind((host.strip("[]"), int(port)))
    except OSError:
        made.close()
        raise
    return made
