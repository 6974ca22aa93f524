"""The segment files of one service: which there are, and where in them a time or a sequence is.

Owns no state. A folder or file that vanishes meanwhile counts as absent: the supervisor deletes the oldest.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from lib.logs.record import PACKED_SUFFIX, parse, segment_name, segment_sequence
from lib.logs.segment import Segment, open_segment

BLOCK = 1 << 20


def firsts(folder: Path) -> list[int]:
    """The first sequences of the segments in `folder`, ascending."""
    try:
        found = [segment_sequence(name) for name in os.listdir(folder)]  # noqa: PTH208 -- polled: the fast one
    except OSError:
        return []
    # A set: for a moment a segment is there both plain and compressed.
    return sorted({first for first in found if first is not None})


def remove(folder: Path, first: int) -> None:
    """Delete a segment, compressed or not."""
    name = segment_name(first)
    # In this order: a compressed one alone would be what the plain one is replaced by.
    (folder / (name + PACKED_SUFFIX)).unlink(missing_ok=True)
    (folder / name).unlink(missing_ok=True)


def services(logs: Path) -> list[str]:
    """The services that have a folder in `logs`, by name."""
    try:
        return sorted(entry.name for entry in os.scandir(logs) if entry.is_dir())
    except OSError:
        return []


def written(folder: Path, first: int) -> float:
    """When the last line of a segment was written, since 1970; of one that is gone infinity."""
    for name in (segment_name(first), segment_name(first) + PACKED_SUFFIX):
        with suppress(OSError):
            return (folder / name).stat().st_mtime
    return float("inf")


def next_sequence(folder: Path) -> int:
    """The sequence that the next segment's first line must have; a half-written last line counts as one."""
    found = firsts(folder)
    if not found:
        return 0
    lines, last = 0, b"\n"
    segment = open_segment(folder, found[-1])
    if segment is not None:
        while block := segment.read(BLOCK):
            lines += block.count(b"\n")
            last = block[-1:]
        segment.close()
    return found[-1] + lines + (last != b"\n")


def count_lines(segment: Segment, end: int) -> int:
    """How many lines end before byte `end`; the segment stands at `end` then."""
    lines = position = 0
    segment.seek(0)
    while position < end and (block := segment.read(min(BLOCK, end - position))):
        lines += block.count(b"\n")
        position += len(block)
    return lines


def line_start(segment: Segment, offset: int) -> int:
    """The start of the first line at or after byte `offset`; the end of the segment when there is none."""
    if offset <= 0:
        return 0
    position = offset - 1
    while block := segment.peek(65536, position):
        found = block.find(b"\n")
        if found >= 0:
            return position + found + 1
        position += len(block)
    return position


def skip_lines(segment: Segment, lines: int) -> None:
    """Stand behind the first `lines` lines (at the end of the segment when it has fewer)."""
    position = 0
    segment.seek(0)
    while lines > 0 and (block := segment.read(BLOCK)):
        inside = block.count(b"\n")
        if inside < lines:
            lines -= inside
            position += len(block)
            continue
        at = -1
        for _ in range(lines):
            at = block.index(b"\n", at + 1)
        segment.seek(position + at + 1)
        return


def time_at(segment: Segment, offset: int) -> str:
    """The time of the line that starts at `offset`; empty when there is none or it is garbage."""
    found = parse(segment.peek(64, offset).split(b"\n", 1)[0])
    return found[0] if found else ""


def since_offset(segment: Segment, since: str) -> int:
    """The start of a line before which every line is older than `since`, found by halving."""
    low, high = 0, segment.size()
    while high - low > 4096:
        middle = line_start(segment, (low + high) // 2)
        time = time_at(segment, middle) if middle < high else ""
        if time and time < since:
            low = middle
        else:
            high = (low + high) // 2
    return line_start(segment, low)
