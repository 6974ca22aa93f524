"""A hub's database in SQLite: one file, mode 0600.

A server keeps connections open and uses a write-ahead log, so that readers never wait and an announcement
costs no flush. The hub inside this program opens the file for each piece of work and uses SQLite's rollback
journal, which also works in home folders on other machines' disks.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from keys.datafolder import data_errors
from keys.hub.database import Row, Value, Work
from keys.hub.pool import Pool
from lib.errors import StorageError, TakenError
from lib.files import storage_errors

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process's registration, which takes milliseconds."""
IDLE = 16
"""Connections that a server keeps."""
CACHE_KIB = 8 * 1024
"""Of one connection; SQLite's own default is 2,000."""


class SqliteWork:
    """One connection. `durable` is how it is set at the moment."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.durable = True

    def one(self, query: str, *values: Value) -> Row | None:
        """The first row."""
        row: Row | None = self.connection.execute(query, values).fetchone()
        return row

    def all(self, query: str, *values: Value) -> list[Row]:
        """All rows."""
        return self.connection.execute(query, values).fetchall()

    def run(self, query: str, *values: Value) -> None:
        """A command without rows."""
        self.connection.execute(query, values)

    def many(self, query: str, rows: list[Row]) -> None:
        """A command for each of `rows`."""
        self.connection.executemany(query, rows)

    def close(self) -> None:
        """End it; what is not committed is undone."""
        self.connection.close()


class SqliteDatabase:
    """The file `path`, made where it is missing. `is_server`: see the top of this file."""

    def __init__(self, path: Path, *, is_server: bool = False) -> None:
        self.path, self.place = path, str(path)
        self._is_server = is_server
        self._pool = Pool(self._connect, IDLE if is_server else 0)
        self._writer = threading.Lock()
        if is_server:
            with self.reading() as work:
                work.run("pragma journal_mode = wal")

    @contextmanager
    def reading(self) -> Iterator[Work]:
        """A connection for queries."""
        with sqlite_errors(self.path), self._pool.connection() as work:
            yield work

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Work]:
        """A transaction."""
        # Threads wait here, in turn; SQLite's own waiting, for other processes, is a guess with pauses.
        with sqlite_errors(self.path), self._writer, self._pool.connection() as work:
            wanted = durable or not self._is_server
            if work.durable != wanted:
                work.run(f"pragma synchronous = {'full' if wanted else 'normal'}")
                work.durable = wanted
            work.run("begin immediate")
            try:
                yield work
                work.run("commit")
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite has undone it already where it could not write
                    work.run("rollback")
                raise

    def version(self) -> int:
        """The format of its tables."""
        with self.reading() as work:
            row = work.one("pragma user_version")
            return int(row[0]) if row else 0

    def set_version(self, work: Work, version: int) -> None:
        """Set it."""
        work.run(f"pragma user_version = {version}")

    def copy_to(self, target: Path) -> None:
        """A copy of the whole database as it is now, while others go on (SQLite's online back-up).

        Raises: StorageError, TakenError.
        """
        with sqlite_errors(target), closing(_open(target)) as copy:
            with sqlite_errors(self.path), self._pool.connection() as work:
                work.connection.backup(copy)
            # The copy is one file, not three, and is on the disk when this is done.
            copy.execute("pragma journal_mode = delete")
        with storage_errors(target), target.open("rb") as stream:
            os.fsync(stream.fileno())

    def close(self) -> None:
        """Close what is open."""
        with sqlite_errors(self.path):
            self._pool.close()

    def _connect(self) -> SqliteWork:
        connection = _open(self.path)
        # An id that was given out must never be given out again, even after a power cut.
        connection.execute("pragma synchronous = full")
        if self._is_server:
            connection.execute(f"pragma cache_size = -{CACHE_KIB}")
        return SqliteWork(connection)


def _open(path: Path) -> sqlite3.Connection:
    # A file that is there is not opened here: closing it would end this process's locks on it, which POSIX
    # keeps by file and not by opening, and with them another thread's transaction.
    with data_errors(path.parent), storage_errors(path), suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    return sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Translate what SQLite says about the database `path`; codes: https://www.sqlite.org/rescode.html.

    Raises: StorageError, TakenError.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise StorageError(f"no space left on the device of {path}", "free some space") from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise TakenError(f"{path} is in use by another process", "try again when it is done") from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise StorageError(f"{path} is damaged ({error})", "restore it from your back-up") from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            raise StorageError(f"cannot write {path}: {error}", "change its owner or its mode") from error
        raise StorageError(f"{path}: {error}", "is the disk in order?") from error
