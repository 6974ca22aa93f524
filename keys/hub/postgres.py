"""A hub's database in PostgreSQL, through pg8000: for hubs that outgrow one file.

postgresql://USER@HOST:PORT/DATABASE, or postgresql://USER@/DATABASE?host=/run/postgresql for a socket;
`?tls=yes` demands TLS with a certificate that the system trusts. The password is in PGPASSWORD, as for
PostgreSQL's own programs: command lines are no place for one (USER:PASSWORD@ works where that is not one).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from keys.hub.database import Row, Value, Work
from keys.hub.pool import Pool
from lib.errors import MissingError, StorageError, TakenError, UsageError

IDLE = 16
"""Connections that are kept."""
CONNECT_TIMEOUT = 10.0
LOCK = 0x616D707A
"""PostgreSQL's advisory lock of whoever writes: log entries are numbered without gaps."""
LOCK_TIMEOUT = 10_000
"""Milliseconds, as long as SQLite waits."""


class PostgresWork:
    """One connection; `connection` is pg8000's."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def one(self, query: str, *values: Value) -> Row | None:
        """The first row."""
        rows = self.all(query, *values)
        return rows[0] if rows else None

    def all(self, query: str, *values: Value) -> list[Row]:
        """All rows."""
        return [tuple(row) for row in self._run(query, values) or ()]

    def run(self, query: str, *values: Value) -> None:
        """A command without rows."""
        self._run(query, values)

    def many(self, query: str, rows: list[Row]) -> None:
        """A command for each of `rows`."""
        for row in rows:
            self._run(query, row)

    def close(self) -> None:
        """End it; what is not committed is undone."""
        with suppress(Exception):  # it may have been lost already, and pg8000 says so in many ways
            self._connection.close()

    def _run(self, query: str, values: tuple[Value, ...]) -> Any:
        # Our queries hold neither colons nor question marks of their own.
        pieces = query.replace(" blob ", " bytea ").replace(" without rowid", "").split("?")
        named = "".join(f"{piece}:v{number}" for number, piece in enumerate(pieces[:-1])) + pieces[-1]
        return self._connection.run(named, **{f"v{number}": value for number, value in enumerate(values)})


class PostgresDatabase:
    """The database that `url` names; it exists, and our role may make tables in it."""

    def __init__(self, url: str) -> None:
        self._settings = parse_url(url)
        where = self._settings.get("unix_sock") or f"{self._settings['host']}:{self._settings['port']}"
        self.place = f"postgresql://{where}/{self._settings['database']}"
        self._pool = Pool(self._connect, IDLE)
        with self.reading():
            pass

    @contextmanager
    def reading(self) -> Iterator[Work]:
        """A connection for queries."""
        with postgres_errors(self.place, self._pool.forget), self._pool.connection() as work:
            yield work

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Work]:
        """A transaction."""
        with postgres_errors(self.place, self._pool.forget), self._pool.connection() as work:
            work.run("begin")
            if durable:
                work.run(f"select pg_advisory_xact_lock({LOCK})")
            else:
                # An announcement is one row of one host, which PostgreSQL locks itself.
                work.run("set local synchronous_commit = off")
            yield work
            # An exception closes the connection, which undoes it all.
            work.run("commit")

    def version(self) -> int:
        """The format of its tables."""
        with self.reading() as work:
            if not work.one("select 1 from pg_tables where schemaname = current_schema() "
                            "and tablename = 'format'"):  # fmt: skip
                return 0
            row = work.one("select version from format")
            return int(row[0]) if row else 0

    def set_version(self, work: Work, version: int) -> None:
        """Set it."""
        work.run("create table if not exists format (version integer not null)")
        work.run("delete from format")
        work.run("insert into format (version) values (?)", version)

    def close(self) -> None:
        """Close what is open."""
        self._pool.close()

    def _connect(self) -> PostgresWork:
        try:
            from pg8000.native import Connection
        except ImportError as error:
            raise MissingError(
                "a hub on PostgreSQL needs pg8000", "pip install 'ampzero[postgres]'"
            ) from error
        connection = Connection(**self._settings, timeout=CONNECT_TIMEOUT)
        connection.run(f"set lock_timeout = {LOCK_TIMEOUT}")
        return PostgresWork(connection)


def parse_url(url: str) -> dict[str, Any]:
    """What pg8000 wants to know, from a URL as at the top of this file.

    Raises: UsageError.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 5432
    except ValueError:
        parts, port = urlsplit(""), 0
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    database = unquote(parts.path.lstrip("/"))
    if parts.scheme not in ("postgresql", "postgres") or not database or set(query) - {"host", "tls"}:
        # The URL may hold a password: it is not repeated.
        raise UsageError("not a database URL", "as postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    password = unquote(parts.password or "") or os.environ.get("PGPASSWORD")
    settings: dict[str, Any] = {
        "user": unquote(parts.username or "postgres"), "password": password,
        "database": database, "application_name": "ampzero hub",
    }  # fmt: skip
    socket = query.get("host", "")
    if socket.startswith("/"):
        settings["unix_sock"] = f"{socket}/.s.PGSQL.{port}"
    else:
        settings["host"], settings["port"] = parts.hostname or socket or "localhost", port
    if query.get("tls") == "yes":
        settings["ssl_context"] = ssl.create_default_context()
    return settings


@contextmanager
def postgres_errors(place: str, lost: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Translate what PostgreSQL says; codes: its manual, appendix A. `lost` is called for a lost connection.

    Raises: StorageError, TakenError.
    """
    try:
        yield
    except Exception as error:
        # pg8000 is asked for here only: who has no PostgreSQL need not have it.
        if not (isinstance(error, OSError) or type(error).__module__.startswith("pg8000")):
            raise
        said = error.args[0] if error.args else ""
        code = str(said.get("C", "")) if isinstance(said, dict) else ""
        words = str(said.get("M", error)) if isinstance(said, dict) else str(error)
        if code == "53100":
            raise StorageError(f"no space left on the disk of {place}", "free some space") from error
        if code in ("55P03", "40001", "40P01", "53300", "57014"):
            raise TakenError(f"{place} is busy: {words}", "try again") from error
        if not code or code[:2] in ("08", "57", "28", "3D"):
            lost()  # those that are idle will be as dead as this one
            raise StorageError(
                f"cannot use {place}: {words}", "is PostgreSQL running, and the URL right?"
            ) from error
        raise StorageError(f"{place}: {words}", "see PostgreSQL's own log") from error
