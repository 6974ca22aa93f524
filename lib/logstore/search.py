"""The statements of searches. Newest first; a rare text is found by its trigrams, a frequent one by reading.

A text that is frequent is met soon when the records are read from the newest on, and its list of candidates
would be long; a rare one is the other way round. Counting the candidates up to RARE decides.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from lib.logs.record import STREAMS
from lib.logstore import schema
from lib.logstore.wire import DEFAULT_BUCKETS, MAX_BUCKETS, Query, RequestError, micros

RARE = 20_000
MAX_PAGE = 4 * 1024 * 1024
"""Bytes of texts in a page; a page ends early, with a cursor, rather than be larger."""
DEADLINE = 10.0
"""Seconds that one search may take."""
STEPS = 20_000
"""Instructions of SQLite between two looks at the clock: well below a millisecond's worth of work each."""
COLUMNS = "instance, service, sequence, time, number, stream, partial, records.text"
Row = tuple[str, str, int, int, int, int, int, bytes]


def page(base: sqlite3.Connection, query: Query, indexed: bool) -> tuple[list[Row], str]:
    """The rows (COLUMNS) of one page and the cursor of the next, empty after the last."""
    tables, where, bound = conditions(base, query, indexed)
    if query.cursor is not None:
        where.append("(time, records.id) < (?, ?)")
        bound += query.cursor
    statement = (
        f"SELECT records.id, {COLUMNS} FROM {tables} JOIN sources ON sources.id = source"  # noqa: S608 -- ours
        f" WHERE {' AND '.join(where)} ORDER BY time DESC, records.id DESC LIMIT ?"
    )
    rows: list[Row] = []
    size, last = 0, ""
    with deadline(base), closing(base.execute(statement, [*bound, query.limit + 1])) as found:
        for number, *row in found:
            size += len(row[-1])
            if len(rows) == query.limit or (rows and size > MAX_PAGE):
                return rows, last
            rows.append(tuple(row))
            last = f"{row[3]}-{number}"
    return rows, ""


def histogram(base: sqlite3.Connection, query: Query, indexed: bool,
              now: float) -> tuple[int, list[tuple[int, str, int]]]:  # fmt: skip
    """The bucket's seconds, and (start in microseconds, service, count) of every bucket that has records."""
    until = micros(query.until) if query.until else int(now * 1_000_000)
    since = micros(query.since) if query.since else until - 3600 * 1_000_000
    span = max(0, until - since) / 1_000_000
    seconds = query.bucket or max(1, round(span / DEFAULT_BUCKETS))
    if span / seconds > MAX_BUCKETS:
        raise RequestError(f"more than {MAX_BUCKETS} buckets", "ask for a larger bucket or a shorter time")
    tables, where, bound = conditions(base, query, indexed)
    width = seconds * 1_000_000
    statement = (
        f"SELECT time - time % {width}, service, count(*)"  # noqa: S608 -- ours
        f" FROM {tables} JOIN sources ON sources.id = source"
        f" WHERE {' AND '.join([*where, 'time >= ?', 'time < ?'])} GROUP BY 1, 2 ORDER BY 1, 2"
    )
    with deadline(base):
        return seconds, base.execute(statement, [*bound, since, until]).fetchall()


def conditions(base: sqlite3.Connection, query: Query, indexed: bool) -> tuple[str, list[str], list[Any]]:
    """What stands after FROM, the conditions, and their parameters."""
    tables, where, bound = "records", ["1"], []  # type: str, list[str], list[Any]
    if query.text:
        candidates = rare(base, query.text) if indexed else None
        if candidates is not None:
            # CROSS JOIN keeps this order: from the few candidates to their records.
            tables = "json_each(?) AS candidate CROSS JOIN records ON records.id = candidate.value"
            bound.append(json.dumps(candidates))
        where.append("has(records.text, ?)")
        bound.append(query.text.encode("utf-8", "surrogateescape").lower())
    if query.since:
        where.append("time >= ?")
        bound.append(micros(query.since))
    if query.until:
        where.append("time < ?")
        bound.append(micros(query.until))
    if query.instance:
        where.append("instance = ?")
        bound.append(query.instance)
    if query.streams:
        where.append(f"stream IN ({', '.join(str(STREAMS.index(stream)) for stream in query.streams)})")
    if query.names:
        parts = []
        for name in query.names:
            service, dot, number = name.rpartition(".")
            is_process = bool(dot) and number.isascii() and number.isdigit() and len(number) < 10
            parts.append("(service = ? AND number = ?)" if is_process else "service = ?")
            bound += [service, int(number)] if is_process else [name]
        where.append(f"({' OR '.join(parts)})")
    return tables, where, bound


def rare(base: sqlite3.Connection, text: str) -> list[int] | None:
    """The ids of the records that may contain `text`; None when they are many, or the index cannot tell."""
    wanted = schema.trigrams(text)
    if not wanted:
        return None
    found: list[int] = []
    with deadline(base):
        for chunk in reversed(schema.chunks(base)):
            statement = f"SELECT rowid FROM words_{chunk} WHERE words_{chunk} MATCH ? LIMIT ?"  # noqa: S608 -- ours
            found += [number for (number,) in base.execute(statement, (wanted, RARE + 1 - len(found)))]
            if len(found) > RARE:
                return None
        statement = f"SELECT id FROM records WHERE length(text) > {schema.LONG} LIMIT ?"  # noqa: S608 -- ours
        found += [number for (number,) in base.execute(statement, (RARE + 1 - len(found),))]
    return found if len(found) <= RARE else None


@contextmanager
def snapshot(base: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """One unchanging view of the database: the index of a chunk must not go away between two statements."""
    base.execute("BEGIN")
    try:
        yield base
    finally:
        base.execute("ROLLBACK")


@contextmanager
def deadline(base: sqlite3.Connection) -> Iterator[None]:
    """End a statement that runs longer than DEADLINE seconds. Raises: RequestError then."""
    end = time.monotonic() + DEADLINE
    base.set_progress_handler(lambda: time.monotonic() > end, STEPS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorname", "") != "SQLITE_INTERRUPT":
            raise
        raise RequestError(
            f"the search takes more than {DEADLINE:g} s",
            "narrow it: a shorter time, a longer text",
            status=503,
        ) from error
    finally:
        base.set_progress_handler(None, 0)
