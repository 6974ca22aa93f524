"""Idle connections, for threads that take turns with them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """A connection."""

    def close(self) -> None:
        """End it."""


Connection = TypeVar("Connection", bound=Closable)


class Pool(Generic[Connection]):
    """Keeps up to `most` idle connections; `connect` makes one where none is idle."""

    def __init__(self, connect: Callable[[], Connection], most: int) -> None:
        self._connect, self._most = connect, most
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for the caller alone. After an exception it is not used again."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if not self._closed and len(self._idle) < self._most:
                self._idle.append(connection)
                return
        connection.close()

    def forget(self) -> None:
        """Close the idle ones: they are of a server that has gone, say. New ones are made."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Close the idle ones; others are closed when their work is done."""
        with self._lock:
            self._closed = True
        self.forget()
