"""The socket of a process that says itself when it is ready: sd_notify(3), READY=1."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from lib.supervisor.identity import OURS, Identity

DATAGRAM_MAX = 4096
"""Bytes of one message that are read; systemd's own limit is of that size."""

PREFIX = "notify-"

OUTSIDE = Path("/run/ampzero")
"""Root's sockets for processes of other users, who cannot enter the instance's folders."""


def place(sockets: Path, child: str, who: Identity) -> Path:
    """Where the socket of the child named `child` is: in the instance's folder `sockets`, or, when the child
    is another user, in a folder that everybody can enter and nobody list."""
    return OUTSIDE / f"{_outside(sockets)}{child}.sock" if who.is_other else sockets / f"{PREFIX}{child}.sock"


def clear(sockets: Path, living: Collection[str]) -> None:
    """Remove the instance's sockets but those of the children `living`: a supervisor that died left them."""
    for folder, prefix in ((sockets, PREFIX), (OUTSIDE, _outside(sockets))):
        for path in folder.glob(f"{prefix}*.sock"):
            if path.stem.removeprefix(prefix) not in living:
                # What root made an ordinary user cannot remove.
                with suppress(OSError):
                    path.unlink()


class Listener:
    """A datagram socket at `path`, `who`'s alone, that calls `ready` whenever READY=1 arrives, until it is
    closed.

    It stays open after that: a process may go on to send STATUS=, and must not fail by it.
    """

    def __init__(self, path: Path, ready: Callable[[], None], who: Identity = OURS) -> None:
        """Raises: OSError when the socket cannot be made."""
        self.path = path
        self._ready = ready
        if who.is_other:
            path.parent.mkdir(exist_ok=True)
            path.parent.chmod(0o711)
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.bind(os.fspath(path))
            path.chmod(0o600)
            who.give(path)
        except OSError:
            self._socket.close()
            path.unlink(missing_ok=True)
            raise
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)

    def close(self) -> None:
        """Stop listening; harmless when it was done."""
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            if b"READY=1" in self._socket.recv(DATAGRAM_MAX).split(b"\n"):
                self._ready()


def _outside(sockets: Path) -> str:
    """What the names of an instance's sockets begin with in the folder of all instances."""
    return f"{hashlib.sha256(os.fsencode(sockets)).hexdigest()[:12]}-"
