"""Log records in one SQLite file: added once each, searched newest first, dropped when old or too many."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lib.logs.record import STREAMS, Record
from lib.logstore import schema, search
from lib.logstore.wire import MAX_BATCH, Query, from_micros, micros

EXPIRE_ROWS = MAX_BATCH
"""Rows that one call of `expire` drops at most: as many as one `add` adds, so it keeps up."""


@dataclass(frozen=True)
class Limits:
    """How much is kept: seconds, and bytes of the database in use. 0 means without limit."""

    age: float = 14 * 86400.0
    size: int = 512 * 1024 * 1024


@dataclass(frozen=True)
class Page:
    """One page of an answer, newest first; an empty cursor means that it was the last."""

    records: list[tuple[str, Record]]
    cursor: str


@dataclass(frozen=True)
class Histogram:
    """Counts by bucket (start, `seconds` long) and service; buckets without records are left out."""

    seconds: int
    counts: dict[str, dict[str, int]]


class Store:
    """A Sink that can be searched. Every method may be called from any thread, and blocks.

    Raises (also its methods): StorageError.
    """

    def __init__(self, path: Path, limits: Limits = Limits(), clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._sources: dict[tuple[str, str], int] = {}
        self._chunks: set[int] = set()
        with schema.sqlite_errors(path):
            self._writer = schema.connect(path)
            path.chmod(0o600)
            self.indexed = schema.create(self._writer)

    def close(self) -> None:
        """Let go of the file; nothing may be called after it."""
        with self._lock:
            for base in (*self._readers, self._writer):
                base.close()

    def add(self, instance: str, records: Sequence[Record]) -> int:
        """See Sink."""
        rows = [(record, micros(record.time)) for record in records]
        added = 0
        with self._lock, schema.sqlite_errors(self.path), self._transaction():
            for record, moment in rows:
                added += self._insert(self._source(instance, record.service), record, moment)
        if added and self.limits.size and self.used() > self.limits.size:
            self.expire()
        return added

    def search(self, query: Query) -> Page:
        """One page. Raises: RequestError when it takes too long."""
        with schema.sqlite_errors(self.path), search.snapshot(self._reader()) as base:
            rows, cursor = search.page(base, query, self.indexed)
        found = []
        for instance, service, sequence, moment, number, stream, partial, text in rows:
            record = Record(
                from_micros(moment), service, number, STREAMS[stream], sequence, text, bool(partial)
            )
            found.append((instance, record))
        return Page(found, cursor)

    def histogram(self, query: Query) -> Histogram:
        """Counts over the query's time (default: the last hour). Raises: RequestError."""
        with schema.sqlite_errors(self.path), search.snapshot(self._reader()) as base:
            seconds, rows = search.histogram(base, query, self.indexed, self._clock())
        counts: dict[str, dict[str, int]] = {}
        for moment, service, count in rows:
            counts.setdefault(from_micros(moment), {})[service] = count
        return Histogram(seconds, counts)

    def sources(self) -> list[tuple[str, str]]:
        """Every (instance, service) that ever sent a record that was kept."""
        with schema.sqlite_errors(self.path):
            found = self._reader().execute("SELECT instance, service FROM sources ORDER BY 1, 2")
            return [(instance, service) for instance, service in found]

    def used(self) -> int:
        """Bytes of the database that hold something."""
        with self._lock, schema.sqlite_errors(self.path):
            size, pages, free = (
                self._writer.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_size", "page_count", "freelist_count")
            )
        return int(size * (pages - free))

    def expire(self) -> int:
        """Drop the oldest records that are too old or too many, EXPIRE_ROWS at most; how many."""
        too_many = self.limits.size > 0 and self.used() > self.limits.size
        before = int((self._clock() - self.limits.age) * 1_000_000) if self.limits.age else -(2**62)
        # Too many: those that came first, whatever their time; so whole chunks of the index become empty.
        which = "ORDER BY id" if too_many else "WHERE time < ? ORDER BY time"
        with self._lock, schema.sqlite_errors(self.path), self._transaction():
            dropped = self._writer.execute(
                f"DELETE FROM records WHERE id IN (SELECT id FROM records {which} LIMIT {EXPIRE_ROWS})",  # noqa: S608 -- ours
                () if too_many else (before,),
            ).rowcount
            if dropped:
                schema.drop_empty_chunks(self._writer)
                self._chunks.clear()
        return dropped

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All that is written in it, or nothing; what is remembered of the tables goes with it."""
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            self._sources.clear()
            self._chunks.clear()
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def _insert(self, source: int, record: Record, moment: int) -> int:
        stream = STREAMS.index(record.stream)
        row = (source, record.sequence, moment, record.number, stream, record.partial, record.text)
        done = self._writer.execute(
            "INSERT INTO records (source, sequence, time, number, stream, partial, text)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source, sequence, time) DO NOTHING", row,
        )  # fmt: skip
        if done.rowcount and self.indexed and done.lastrowid is not None and len(record.text) <= schema.LONG:
            chunk = done.lastrowid // schema.CHUNK
            if chunk not in self._chunks:
                schema.make_chunk(self._writer, chunk)
                self._chunks.add(chunk)
            words = (done.lastrowid, schema.indexed_text(record.text))
            self._writer.execute(f"INSERT INTO words_{chunk} (rowid, text) VALUES (?, ?)", words)  # noqa: S608 -- a number
        return done.rowcount

    def _source(self, instance: str, service: str) -> int:
        key = (instance, service)
        if key not in self._sources:
            self._writer.execute("INSERT OR IGNORE INTO sources (instance, service) VALUES (?, ?)", key)
            found = self._writer.execute("SELECT id FROM sources WHERE instance = ? AND service = ?", key)
            self._sources[key] = found.fetchone()[0]
        return self._sources[key]

    def _reader(self) -> sqlite3.Connection:
        """This thread's own connection, so that searches wait neither for each other nor for the writer."""
        base: sqlite3.Connection | None = getattr(self._local, "base", None)
        if base is None:
            base = schema.connect(self.path)
            base.execute("PRAGMA query_only=1")
            self._local.base = base
            with self._lock:
                self._readers.append(base)
        return base
