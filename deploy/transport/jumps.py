"""Connections to jump hosts: one for all the hosts behind it, closed when the last of them is done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class Shared(Protocol):
    """What can be shared."""

    @property
    def alive(self) -> bool:
        """Whether it can still be used."""

    def close(self) -> None:
        """End it."""


C = TypeVar("C", bound=Shared)


class Jumps(Generic[C]):
    """The open connections, by where they lead, each with the number of its holders."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opening: dict[Hashable, threading.Lock] = {}
        self._open: dict[Hashable, C] = {}
        self._holders: dict[C, int] = {}

    def take(self, where: Hashable, opener: Callable[[], C]) -> C:
        """The connection that leads to `where`; it is opened once, whoever else waits for it meanwhile.

        Raises: what `opener` raises.
        """
        with self._lock:
            opening = self._opening.setdefault(where, threading.Lock())
        with opening:
            with self._lock:
                found = self._open.get(where)
                if found is not None and found.alive:
                    self._holders[found] += 1
                    return found
            made = opener()
            with self._lock:
                self._open[where] = made
                self._holders[made] = 1
            return made

    def give_back(self, connection: C) -> None:
        """One host less needs it."""
        with self._lock:
            self._holders[connection] -= 1
            last = not self._holders[connection]
            if last:
                del self._holders[connection]
                for where in [where for where, one in self._open.items() if one is connection]:
                    del self._open[where]
        if last:
            connection.close()
