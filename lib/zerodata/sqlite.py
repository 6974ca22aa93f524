"""Records in one SQLite file, in WAL mode: many readers, one writer, every answer on the disk first.

Writers that wait for each other share one commit: the first to get the lock writes for all that wait.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lib.errors import DiskFullError, StorageError
from lib.zerodata import cursor as cursors
from lib.zerodata.index import Index
from lib.zerodata.query import Query
from lib.zerodata.record import ConflictError, Delete, Put, RequestError, encode
from lib.zerodata.sql import select
from lib.zerodata.store import MAX_PAGE, Page, Stored

SHARED_COMMIT = 64
"""Requests that one commit serves at most."""
BUSY = 10.0
"""Seconds to wait for another process that writes."""
MAX_QUERY = 5.0
"""Seconds that one page may take; less than a stop may, since the stop waits for it."""
CACHE_KIB = 1024
"""Page cache of each connection."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, value TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS records_key ON records (kind, id);
CREATE TABLE IF NOT EXISTS sequence (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL);
INSERT OR IGNORE INTO sequence VALUES (1, 0);
"""


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into StorageError; DiskFullError where the disk is full."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            raise DiskFullError(f"no room left for {path}", "free some space") from error
        if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
            raise RequestError(
                f"the query took more than {MAX_QUERY} s", "declare an index for it"
            ) from error
        raise StorageError(f"{path}: {error}") from error


class _Job:
    """One caller's operations while they wait for the writer."""

    def __init__(self, operations: Sequence[tuple[Put | Delete, str]]) -> None:
        self.operations = operations
        self.done = False
        self.results: list[int] = []
        self.error: Exception | None = None


class SqliteStore:
    """A Store in the file `path`. `max_bytes` bounds the file's size; 0 leaves it to the disk."""

    def __init__(
        self, path: Path, cursor_key: bytes, indexes: Sequence[Index] = (), max_bytes: int = 0
    ) -> None:
        self.path = path
        self._cursor_key = cursor_key
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._readers_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._waiting: deque[_Job] = deque()
        self._closed = False
        with sqlite_errors(path):
            self._writer = self._connect()
            path.chmod(0o600)
            self._writer.execute("PRAGMA journal_mode=WAL")
            self._writer.execute("PRAGMA synchronous=FULL")
            if max_bytes:
                size = self._writer.execute("PRAGMA page_size").fetchone()[0]
                self._writer.execute(f"PRAGMA max_page_count={max(max_bytes // size, 1)}")
            self._writer.executescript(f"BEGIN IMMEDIATE;{SCHEMA}COMMIT;")
            self._declare(indexes)

    def _connect(self) -> sqlite3.Connection:
        base = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        base.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        return base

    def _declare(self, indexes: Sequence[Index]) -> None:
        """Make the indexes that are declared and new, drop those that are no longer declared."""
        wanted = {index.name: index for index in indexes}
        rows = self._writer.execute(
            "SELECT name FROM sqlite_master WHERE name LIKE 'declared\\_%' ESCAPE '\\'"
        )
        present = {name for (name,) in rows}
        for name in sorted(present - set(wanted)):
            self._writer.execute(f"DROP INDEX IF EXISTS {name}")
        for name in sorted(set(wanted) - present):
            self._writer.execute(f"CREATE INDEX IF NOT EXISTS {name} ON records ({wanted[name].columns})")

    def _reader(self) -> sqlite3.Connection:
        """This thread's own connection."""
        base: sqlite3.Connection | None = getattr(self._local, "base", None)
        if base is None:
            with self._readers_lock:
                if self._closed:
                    raise StorageError(f"{self.path} is closed")
                base = self._connect()
                self._readers.append(base)
            base.execute("PRAGMA query_only=1")
            base.set_progress_handler(lambda: time.monotonic() > self._local.deadline, 10_000)
            self._local.base = base
        self._local.deadline = time.monotonic() + MAX_QUERY
        return base

    def get(self, kind: str, id: str) -> Stored | None:
        """See Store."""
        with sqlite_errors(self.path):
            found = self._reader().execute(
                "SELECT id, version, value FROM records WHERE kind=? AND id=?", (kind, id)
            )
            row = found.fetchone()
        return Stored(*row) if row else None

    def query(self, query: Query) -> Page:
        """See Store."""
        statement, bound = select(query, cursors.decode(self._cursor_key, query))
        records: list[Stored] = []
        position: Sequence[str | int | float] = ()
        size = 0
        with sqlite_errors(self.path):
            rows = self._reader().execute(statement, bound)
            try:
                for row in rows:
                    size += len(row[2])
                    if len(records) == query.limit or (records and size > MAX_PAGE):
                        return Page(records, self._cursor(query, position))
                    records.append(Stored(*row[:3]))
                    position = row[3:]
            finally:
                rows.close()
        return Page(records, None)

    def _cursor(self, query: Query, position: Sequence[str | int | float]) -> str:
        cursor = cursors.encode(self._cursor_key, query, position)
        if cursor is None:
            raise RequestError("a value in the order is too long for a cursor", "order by something shorter")
        return cursor

    def apply(self, operations: Sequence[Put | Delete]) -> list[int]:
        """See Store."""
        job = _Job([(one, encode(one.value) if isinstance(one, Put) else "") for one in operations])
        self._waiting.append(job)
        with self._write_lock:
            while not job.done:
                self._commit([self._waiting.popleft() for _ in range(min(len(self._waiting), SHARED_COMMIT))])
        if job.error is not None:
            raise job.error
        return job.results

    def _commit(self, jobs: Sequence[_Job]) -> None:
        """Write the jobs in one transaction; a job that fails takes back only its own part of it."""
        try:
            with sqlite_errors(self.path):
                self._writer.execute("BEGIN IMMEDIATE")
                (version,) = self._writer.execute("SELECT version FROM sequence").fetchone()
                before = version
                for job in jobs:
                    self._writer.execute("SAVEPOINT job")
                    try:
                        job.results, version = self._write(job.operations, version)
                    except ConflictError as error:
                        job.error = error
                        self._writer.execute("ROLLBACK TO job")
                    self._writer.execute("RELEASE job")
                if version != before:
                    self._writer.execute("UPDATE sequence SET version=?", (version,))
                self._writer.execute("COMMIT")
        except Exception as error:
            # A failed COMMIT may leave the transaction open, a full disk may have ended it already.
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            for job in jobs:
                job.error = job.error or error
        finally:
            for job in jobs:
                job.done = True

    def _write(self, operations: Sequence[tuple[Put | Delete, str]], version: int) -> tuple[list[int], int]:
        """Do one job's operations; gives their results and the last version used."""
        results = []
        for one, text in operations:
            key = (one.kind, one.id)
            if one.version is not None:
                found = self._writer.execute(
                    "SELECT version FROM records WHERE kind=? AND id=?", key
                ).fetchone()
                present = found[0] if found else 0
                if present != one.version:
                    is_now = f"has version {present}" if present else "does not exist"
                    raise ConflictError(f"{one.kind}/{one.id} {is_now}, not version {one.version}")
            if isinstance(one, Delete):
                results.append(
                    self._writer.execute("DELETE FROM records WHERE kind=? AND id=?", key).rowcount
                )
                continue
            version += 1
            self._writer.execute(
                "INSERT INTO records VALUES (?, ?, ?, ?) ON CONFLICT (kind, id)"
                " DO UPDATE SET version=excluded.version, value=excluded.value",
                (*key, version, text),
            )
            results.append(version)
        return results, version

    def close(self) -> None:
        """See Store."""
        with self._write_lock, self._readers_lock:
            self._closed = True
            for base in (*self._readers, self._writer):
                base.close()
