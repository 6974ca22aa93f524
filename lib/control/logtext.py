"""The output of one process as plain bytes: what supervisor's clients take for a log file.

Reads the segments of lib/logs; positions are line numbers (sequences), which stay true when old segments go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from lib.logs.merge import Follower, Selection
from lib.logs.record import Record

BYTES_MAX = 1 << 20
"""Bytes of one answer."""
FOLLOW_INTERVALS = (0.05, 0.5)
"""Seconds between two looks while lines arrive, and at rest."""
FIRST_BYTES = 1024
"""Of the past, at the beginning of a stream: what supervisor shows."""


@dataclass(frozen=True)
class Source:
    """The lines of `streams` of a process (`web.1`), or of a whole service when `process` is empty."""

    logs: Path
    service: str
    process: str
    streams: frozenset[str]

    def follower(self) -> Follower:
        """A reader of exactly these lines."""
        names = frozenset({self.process}) if self.process else frozenset[str]()
        return Follower(self.logs, [self.service], Selection(streams=self.streams, names=names))


def text(records: list[Record]) -> bytes:
    """The lines as the process wrote them."""
    return b"".join(record.text + b"\n" for record in records)


def last(source: Source, count: int) -> bytes:
    """The last `count` bytes, as far as they are kept; may begin inside a line."""
    count = min(count, BYTES_MAX)
    # A line has a newline at least, so this many lines are enough; most are longer, so begin with fewer.
    lines = count // 64 + 16
    while True:
        with source.follower() as follower:
            records = follower.tail(lines)
        found = text(records)
        if len(found) >= count or len(records) < lines:
            return found[-count:] if count else b""
        lines *= 4


def after(source: Source, sequence: int, count: int) -> tuple[bytes, int, bool]:
    """At most the last `count` bytes of the lines from `sequence` on; where to go on; whether some lack."""
    count = min(count, BYTES_MAX)
    lines = count // 16 + 64
    with source.follower() as follower:
        records = follower.tail(lines)
    following = records[-1].sequence + 1 if records else sequence
    wanted = [record for record in records if record.sequence >= sequence]
    found = text(wanted)
    missed = len(wanted) == lines or len(found) > count
    return (found[-count:] if count else b""), max(following, sequence), missed


def part(source: Source, offset: int, count: int) -> bytes:
    """`count` bytes (0: all, up to BYTES_MAX) from byte `offset` of what is kept."""
    count = min(count or BYTES_MAX, BYTES_MAX)
    found = bytearray()
    with source.follower() as follower:
        while len(found) < count and (records := follower.poll()):
            block = text(records)
            found += block[offset:]
            offset = max(0, offset - len(block))
    return bytes(found[:count])


async def follow(source: Source) -> AsyncIterator[bytes]:
    """The end of what is there, then what is written, without end."""
    loop = asyncio.get_running_loop()
    with source.follower() as follower:
        records = await loop.run_in_executor(None, follower.tail, FIRST_BYTES // 16)
        yield text(records)[-FIRST_BYTES:]
        busy, idle = FOLLOW_INTERVALS
        wait = busy
        while True:
            records = follower.poll()
            yield text(records)
            wait = busy if records else min(idle, wait * 1.5)
            await asyncio.sleep(wait if not records else 0.001)
