"""Which database a hub is on."""

from __future__ import annotations

from pathlib import Path

from keys.hub.database import Database
from keys.hub.sqlite import SqliteDatabase

DATABASE = "hub.sqlite"
"""In the hub's folder, where no other database was chosen."""


def open_database(folder: Path, url: str) -> Database:
    """The PostgreSQL at `url`, or a server's SQLite in the hub's `folder`.

    Raises: StorageError, TakenError, MissingError, UsageError.
    """
    if not url:
        return SqliteDatabase(folder / DATABASE, is_server=True)
    # Most hubs have no PostgreSQL, and `init` uses this package too.
    from keys.hub.postgres import PostgresDatabase

    return PostgresDatabase(url)
