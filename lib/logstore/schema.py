"""The tables, and the connections to them. SQLite in WAL mode, every commit flushed to the disk.

The index of texts is FTS5's over trigrams: what people look for in logs are parts of words, paths and ids,
as with grep, and not words (decision 041). It only names candidates: the text itself decides. It is
one table for each CHUNK record ids: an FTS5 index gives little room back for deleted rows, a dropped one all.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.errors import StorageError

LONG = 4096
"""Bytes above which a text is not indexed but always a candidate: so the index of a chunk stays small."""
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS sources (
    id INTEGER PRIMARY KEY, instance TEXT NOT NULL, service TEXT NOT NULL, UNIQUE (instance, service));
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source INTEGER NOT NULL, sequence INTEGER NOT NULL,
    time INTEGER NOT NULL, number INTEGER NOT NULL, stream INTEGER NOT NULL, partial INTEGER NOT NULL,
    text BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS records_key ON records (source, sequence, time);
CREATE INDEX IF NOT EXISTS records_time ON records (time, source);
CREATE INDEX IF NOT EXISTS records_long ON records (id) WHERE length(text) > {LONG};
"""
WORDS = "USING fts5 (text, content='', tokenize='trigram', detail=none, columnsize=0)"
CHUNK = 32768
CHUNK_TABLE = re.compile(r"words_(\d+)")
BUSY = 10.0


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors about `path` into StorageError."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            raise StorageError(f"no room left for {path}", "free some space, or keep fewer logs") from error
        raise StorageError(f"{path}: {error}") from error


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode that any thread may use, one at a time."""
    base = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
    base.execute("PRAGMA synchronous=FULL")
    base.create_function("has", 2, has, deterministic=True)
    return base


def has(text: bytes, needle: bytes) -> bool:
    """Whether `needle` (lower case) is in `text`; the case of ASCII letters does not matter."""
    return needle in text.lower()


def create(base: sqlite3.Connection) -> bool:
    """Make the tables that are missing; whether there is an index of texts.

    Without FTS5's trigrams (SQLite before 3.34) a search reads the texts themselves: slower, same answers.
    """
    base.execute("PRAGMA journal_mode=WAL")
    base.executescript(f"BEGIN IMMEDIATE;{SCHEMA}COMMIT;")
    try:
        base.execute(f"CREATE VIRTUAL TABLE temp.probe {WORDS}")
        base.execute("DROP TABLE temp.probe")
    except sqlite3.OperationalError:
        return False
    return bool(chunks(base)) or base.execute("SELECT 1 FROM records LIMIT 1").fetchone() is None


def chunks(base: sqlite3.Connection) -> list[int]:
    """The numbers of the chunks that have an index, ascending."""
    names = base.execute("SELECT name FROM sqlite_master WHERE name GLOB 'words_*'")
    return sorted(int(found[1]) for (name,) in names if (found := CHUNK_TABLE.fullmatch(name)))


def make_chunk(base: sqlite3.Connection, chunk: int) -> None:
    """Make the index of a chunk."""
    base.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS words_{chunk} {WORDS}")


def drop_empty_chunks(base: sqlite3.Connection) -> None:
    """Drop the indexes of chunks that lie before every record there is, and not where the next one goes."""
    [(oldest,)] = base.execute(
        "SELECT coalesce((SELECT min(id) FROM records), (SELECT seq FROM sqlite_sequence), 0)"
    )
    for chunk in chunks(base):
        if chunk < oldest // CHUNK:
            base.execute(f"DROP TABLE words_{chunk}")


def indexed_text(text: bytes) -> str:
    """What the index is told of a text."""
    return text.decode("utf-8", "replace").replace("\0", " ")


def trigrams(needle: str) -> str:
    """The FTS5 query for texts that may contain `needle`; empty when the index is of no help."""
    if len(needle) < 3 or "\0" in needle or "\ufffd" in needle:
        return ""
    parts = dict.fromkeys(needle[index : index + 3] for index in range(min(len(needle) - 2, 64)))
    return " AND ".join('"' + part.replace('"', '""') + '"' for part in parts)
