"""Reads the logs of several services as one, by time: all of it, its tail, and on as it grows."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.logs import segments
from lib.logs.reader import ServiceReader
from lib.logs.record import Record

TAIL_WINDOW = 1 << 16
FOLLOW_INTERVALS = (0.02, 0.25)
"""Seconds between looks while records arrive, and at rest."""
FLUSH_AFTER = 1.0
"""Seconds without anything new after which unfinished lines are shown as they are."""


@dataclass(frozen=True)
class Selection:
    """Which records are wanted. `text` is plain text in a record's text; times are those of records.

    `names` are services (`web`) and processes (`web.2`). Empty means all.
    """

    since: str = ""
    until: str = ""
    streams: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    text: bytes = b""
    ignore_case: bool = False
    """Of ASCII letters in `text`."""

    def matches(self, record: Record) -> bool:
        """Whether `record` is wanted."""
        return (
            record.time >= self.since
            and (not self.until or record.time < self.until)
            and (not self.streams or record.stream in self.streams)
            and (not self.names or record.service in self.names or record.process in self.names)
            and (not self.text or self._has_text(record.text))
        )

    def _has_text(self, text: bytes) -> bool:
        return self.text.lower() in text.lower() if self.ignore_case else self.text in text


EVERYTHING = Selection()


def by_time(record: Record) -> tuple[str, str, int]:
    """The sort key of records of several services."""
    return record.time, record.service, record.sequence


def read(logs: Path, services: Iterable[str] = (), selection: Selection = EVERYTHING) -> Iterator[Record]:
    """The records there are now, oldest first, of `services` (default: all)."""
    names = list(services) or segments.services(logs)
    return heapq.merge(*(_read_one(logs / name, selection) for name in names), key=by_time)


def _read_one(folder: Path, selection: Selection) -> Iterator[Record]:
    with ServiceReader(folder) as reader:
        if selection.since:
            reader.seek_since(selection.since)
        while records := reader.poll():
            yield from filter(selection.matches, records)
            if selection.until and records[-1].time >= selection.until:
                return
        yield from filter(selection.matches, reader.flush())


def tail(logs: Path, services: Iterable[str] = (), lines: int = 100,
         selection: Selection = EVERYTHING) -> list[Record]:  # fmt: skip
    """The last `lines` records of `services` together (default: all), oldest first; reads from the end.

    A line that is longer than what had to be read for so many lines may lack its beginning.
    """
    with Follower(logs, services, selection) as follower:
        return follower.tail(lines)


class Follower:
    """Several services' logs from now on; `services` empty means all, also those that appear later.

    `tail` first gives the last records there are; each `poll` then what is new, without doubles or holes.
    """

    def __init__(self, logs: Path, services: Iterable[str] = (), selection: Selection = EVERYTHING) -> None:
        self.logs = logs
        self.services = list(services)
        self.selection = selection
        self.readers: dict[str, ServiceReader] = {}

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all files."""
        for reader in self.readers.values():
            reader.close()
        self.readers.clear()

    def tail(self, lines: int) -> list[Record]:
        """The last `lines` wanted records; `poll` goes on behind them."""
        found: list[Record] = []
        for name in self.services or segments.services(self.logs):
            reader = self.readers[name] = ServiceReader(self.logs / name)
            found += self._last(reader, lines)
        found.sort(key=by_time)
        return found[-lines:] if lines > 0 else []

    def poll(self) -> list[Record]:
        """What was written since the last call, by time within this answer; never waits."""
        for name in self.services or segments.services(self.logs):
            if name not in self.readers:
                self.readers[name] = ServiceReader(self.logs / name)
        found = [record for reader in self.readers.values() for record in reader.poll()]
        return sorted(filter(self.selection.matches, found), key=by_time)

    def flush(self) -> list[Record]:
        """Unfinished long lines as they are."""
        found = [record for reader in self.readers.values() for record in reader.flush()]
        return sorted(filter(self.selection.matches, found), key=by_time)

    def _last(self, reader: ServiceReader, lines: int) -> list[Record]:
        """The last `lines` wanted records of one service; its reader stands at the end then."""
        if lines <= 0:
            reader.seek_end()
            return []
        window = TAIL_WINDOW
        while True:
            whole = reader.seek_back(window)
            last: deque[Record] = deque(maxlen=lines)
            oldest = ""
            while records := reader.poll():
                oldest = oldest or records[0].time
                last.extend(filter(self.selection.matches, records))
            if whole or len(last) == lines or (self.selection.since and oldest < self.selection.since):
                return list(last)
            window *= 4


def follow(follower: Follower, sleep: Callable[[float], None] = time.sleep) -> Iterator[Record]:
    """All that `follower` gives, for ever: until the caller stops asking, or `sleep` raises."""
    busy, idle = FOLLOW_INTERVALS
    wait = quiet = 0.0
    while True:
        records = follower.poll()
        if not records and quiet >= FLUSH_AFTER:
            records = follower.flush()
        if records:
            yield from records
            wait = quiet = 0.0
            continue
        wait = min(idle, wait * 1.5 or busy)
        quiet += wait
        sleep(wait)
