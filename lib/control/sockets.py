"""zmq sockets on unix paths, for the user's own processes only, read from an asyncio loop.

The folder's mode (0700) keeps others out already; the filter asks the kernel who connects (SO_PEERCRED), so
that a folder whose mode was widened opens nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import zmq

HANDSHAKE_TIME = 5000
"""Milliseconds until who connected and did not say what zmq expects is dropped."""


def bind(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, path: Path, options: dict[int, int]
) -> zmq.Socket[bytes]:
    """A socket of `kind`, bound to `path`, which must be in a folder of the user's alone.

    Raises: zmq.ZMQError when the path cannot be bound.
    """
    path.unlink(missing_ok=True)
    bound = context.socket(kind)
    bound.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_TIME)
    for uid in {os.getuid(), 0}:
        # Each call adds one to those who may (zmq_setsockopt, ZMQ_IPC_FILTER_UID).
        bound.setsockopt(zmq.IPC_FILTER_UID, uid)
    for option, value in options.items():
        # Before the bind: afterwards they would count for no connection (zmq_setsockopt).
        bound.setsockopt(option, value)
    before = os.umask(0o077)
    try:
        bound.bind(f"ipc://{path}")
    except zmq.ZMQError:
        bound.close()
        raise
    finally:
        os.umask(before)
    return bound


class Watch:
    """Calls `ready` in the running loop whenever `socket` may have something to read, until `close`.

    Call it once yourself: what came before is not told.
    """

    def __init__(self, socket: zmq.Socket[bytes], ready: Callable[[], None]) -> None:
        self._socket = socket
        self.ready = ready
        self._handle = socket.fileno()
        asyncio.get_running_loop().add_reader(self._handle, ready)

    def look(self) -> bool:
        """Whether there is something to read.

        zmq's descriptor is edge-triggered (zmq_getsockopt, ZMQ_FD): whoever is called must read until this
        is False, and look again after each send, or it is never called again.
        """
        return bool(int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    def close(self) -> None:
        """Watch no longer; the socket stays open."""
        asyncio.get_running_loop().remove_reader(self._handle)
