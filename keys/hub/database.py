"""What a hub needs of a database; SQLite and PostgreSQL do it, in one SQL that both speak.

Threads: every piece of work has a connection of its own, from a small pool, so that a Hub and its parts hold
no state that two threads could spoil. Processes and threads: there is one writer at a time, the others wait;
whoever reads does not wait, and sees whole pieces of work only.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

Value = str | int | bytes
Row = tuple[Value, ...]


class Work(Protocol):
    """A connection while one piece of work has it. Values stand as `?` in a query."""

    def one(self, query: str, *values: Value) -> Row | None:
        """The first row, None where there is none."""

    def all(self, query: str, *values: Value) -> list[Row]:
        """All rows."""

    def run(self, query: str, *values: Value) -> None:
        """A command without rows."""

    def many(self, query: str, rows: list[Row]) -> None:
        """A command for each of `rows`."""


class Database(Protocol):
    """Where a hub keeps what it knows.

    Everything raises StorageError (a full disk too: then nothing was changed) and TakenError (busy).
    """

    place: str
    """Its name in messages; holds no password."""

    def reading(self) -> AbstractContextManager[Work]:
        """A connection for queries."""

    def writing(self, *, durable: bool = True) -> AbstractContextManager[Work]:
        """A transaction: committed at the end, undone by an exception.

        What is `durable` is on the disk then. What is not may be lost in a power cut, and only then; it must
        be right also where others write at the same time.
        """

    def version(self) -> int:
        """The format of its tables; 0 where there are none."""

    def set_version(self, work: Work, version: int) -> None:
        """Set it, in the same transaction as the change."""

    def close(self) -> None:
        """Close what is open. Work that is under way is not interrupted."""
