"""What keeps the records. SQLite is the one that is built (sqlite.py); PostgreSQL's would stand beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lib.zerodata.query import Query
from lib.zerodata.record import Delete, Put

MAX_PAGE = 4 * 1024 * 1024
"""Bytes of values in a page; a page ends early, with a cursor, rather than be larger."""


@dataclass(frozen=True)
class Stored:
    """A record as it is kept: `text` is its value as JSON."""

    id: str
    version: int
    text: str


@dataclass(frozen=True)
class Page:
    """A part of a query's answer; no cursor means that it was the last."""

    records: Sequence[Stored]
    cursor: str | None


class Store(Protocol):
    """Keeps records. Every method may be called from any thread, and blocks."""

    def get(self, kind: str, id: str) -> Stored | None:
        """One record. Raises: StorageError."""
        ...

    def query(self, query: Query) -> Page:
        """One page. Raises: RequestError for a bad cursor, StorageError."""
        ...

    def apply(self, operations: Sequence[Put | Delete]) -> list[int]:
        """Do all operations or none; they are on the disk when this returns.

        Gives for a Put the new version, for a Delete 1 when there was a record and 0 when there was none.

        Raises: ConflictError, RequestError, StorageError.
        """
        ...

    def close(self) -> None:
        """Finish what was begun and let go of the files."""
        ...
