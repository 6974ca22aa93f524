"""One log record: its format on disk, written and parsed. Imports next to nothing.

A segment `<first sequence, 20 digits>.log` holds lines `2026-11-20T21:05:35.123456Z NUMBER STREAM TEXT`.
TEXT is the child's bytes as they came, never a newline. `STREAM+` says that the line goes on in the next
record of the same NUMBER and stream. A line's sequence is the first one plus its index in the segment.
"""

from __future__ import annotations

import time as clock
from datetime import UTC, datetime
from typing import NamedTuple

STREAMS = ("out", "err", "sys")
"""What a process wrote to stdout and stderr, and what the supervisor has to say about it."""
CONTINUED = b"+"
SUFFIX = ".log"
PACKED_SUFFIX = ".gz"
"""Behind the name of a segment that was compressed (gzip)."""
SEQUENCE_DIGITS = 20
SEQUENCE_LIMIT = 1 << 62
"""Greater numbers are not ours: they would not fit into a database's integers."""
STAMP_LENGTH = 27
"""Characters of a time: UTC, microseconds, always the same width, so that times sort as text."""

_STREAM_OF = {
    **{name.encode(): (name, False) for name in STREAMS},
    **{name.encode() + CONTINUED: (name, True) for name in STREAMS},
}


class Record(NamedTuple):
    """One line that a process wrote, with its pieces joined.

    `time` is `2026-11-20T21:05:35.123456Z` (sorts as text), `number` the process in the service (0: the
    service as a whole), `text` the raw bytes without the newline. A joined record has the time and the
    sequence of its last piece. `partial`: the line goes on in a later record, it was too long to join.
    """

    time: str
    service: str
    number: int
    stream: str
    sequence: int
    text: bytes
    partial: bool = False

    @property
    def process(self) -> str:
        """`service.number`."""
        return f"{self.service}.{self.number}"


def stamp(time: float | datetime) -> str:
    """`time` (seconds since 1970, or an aware datetime) as it stands in a record."""
    if isinstance(time, datetime):
        time = time.timestamp()
    seconds, micros = divmod(round(time * 1_000_000), 1_000_000)
    return f"{clock.strftime('%Y-%m-%dT%H:%M:%S', clock.gmtime(seconds))}.{micros:06d}Z"


def unix(time: str) -> float:
    """Seconds since 1970 of a record's time.

    Raises: ValueError.
    """
    return datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()


def prefix(time: float | datetime, number: int, stream: str) -> bytes:
    """Everything of a line before its text; `stream` may end in `+`."""
    return f"{stamp(time)} {number} {stream} ".encode()


def segment_name(first_sequence: int) -> str:
    """The file name of the segment whose first line has this sequence."""
    return f"{first_sequence:0{SEQUENCE_DIGITS}d}{SUFFIX}"


def segment_sequence(name: str) -> int | None:
    """The first sequence in a segment's file name, compressed or not; None when it is not one."""
    name = name.removesuffix(PACKED_SUFFIX)
    digits = name.removesuffix(SUFFIX)
    is_segment = len(digits) == SEQUENCE_DIGITS and digits.isascii() and digits.isdigit()
    first = int(digits) if is_segment and name.endswith(SUFFIX) else SEQUENCE_LIMIT
    return first if first < SEQUENCE_LIMIT else None


def parse(line: bytes) -> tuple[str, int, str, bool, bytes] | None:
    """(time, number, stream, goes on, text) of one line without its newline; None when it is none."""
    parts = line.split(b" ", 3)
    if len(parts) == 3:
        parts.append(b"")
    if len(parts) != 4:
        return None
    time, number, word, text = parts
    stream = _STREAM_OF.get(word)
    if stream is None or len(time) != STAMP_LENGTH or not number.isdigit() or len(number) > 9:
        return None
    if time[-1:] != b"Z" or time[10:11] != b"T" or time[19:20] != b"." or not time.isascii():
        return None
    return time.decode("ascii"), int(number), stream[0], stream[1], text
