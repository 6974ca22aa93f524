"""A supervisor that leaves, and lives: how it offers what it has to the one that comes next.

It connects to a socket at which the starter of the next one waits (lib/succession.py), and sends a Launch as
handover.py does, the lock and the listening sockets with it. Only when one byte comes back it is taken, and
it lets go; whoever is killed before that leaves all as it was.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lib.supervisor import handover
from lib.supervisor.launch import Launch

ANSWER_TIME = 10.0
"""Seconds in which the other must say that it has everything."""


class Offer:
    """A connection to who is to take over."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    async def make(self, launch: Launch) -> bool:
        """Offer `launch`; whether it was taken.

        Raises: OSError, TimeoutError.
        """
        handover.send(self._channel, launch)
        async with asyncio.timeout(ANSWER_TIME):
            return bool(await asyncio.get_running_loop().sock_recv(self._channel, 1))


@asynccontextmanager
async def offer(path: str) -> AsyncIterator[Offer]:
    """Connect to the unix socket at `path`.

    Raises: OSError.
    """
    with socket.socket(socket.AF_UNIX) as channel:
        channel.setblocking(False)
        await asyncio.get_running_loop().sock_connect(channel, path)
        yield Offer(channel)
