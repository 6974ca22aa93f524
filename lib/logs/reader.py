"""Reads the log of one service: from anywhere to its end, and on as it grows.

One reader does it all: seek, then `poll` until it gives nothing; call it again later and it goes on where
it was, over new segments and deleted ones. It never blocks and starts nothing.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from lib.logs import segments
from lib.logs.joiner import JOIN_LIMIT, Joiner
from lib.logs.record import Record
from lib.logs.segment import PlainSegment, Segment, identity, open_segment

LINE_LIMIT = 1 << 20
"""Bytes of one line of a segment that are looked at; the supervisor writes far shorter pieces."""
READ_SIZE = 1 << 18


class Position(NamedTuple):
    """Where to go on: the segment's first sequence, its identity, the next line's sequence.

    `done` names, per process and stream, later lines that were delivered already.
    """

    segment: int
    identity: int
    """0 when nothing was read of it yet."""
    sequence: int
    done: dict[tuple[int, str], int]


class ServiceReader:
    """A place in the log of one service; starts before its oldest record.

    `gap` counts the lines that were deleted before they could be read.
    """

    def __init__(self, folder: Path, join_limit: int = JOIN_LIMIT) -> None:
        self.folder = folder
        self.service = folder.name
        self.gap = 0
        self._joiner = Joiner(self.service, join_limit)
        self._open: Segment | None = None
        self._identity = 0
        self._sequence = 0
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Let go of the file; a later poll would begin anew."""
        self._shut()
        self._joiner = Joiner(self.service, self._joiner.limit)

    def _shut(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open, self._identity, self._rest = None, 0, b""

    def poll(self, size: int = READ_SIZE) -> list[Record]:
        """The next records, about `size` bytes of them; empty when the end is reached for now."""
        while True:
            segment = self._open or self._begin_after(-1)
            if segment is None:
                return []
            data = segment.read(size)
            if not data:
                self._follow_truncation(segment)
                following = self._successor(segment)
                if following is None:
                    return []
                # What was written between the read and the birth of the successor; after that, nothing is.
                data = segment.read(size)
                if not data:
                    records = self._take(segment, b"\n") if self._rest else []
                    self._go_on(following)
                    if records:
                        return records
                    continue
            records = self._take(segment, data)
            if records:
                return records

    def flush(self) -> list[Record]:
        """The unfinished long lines as they are; for a caller who does not want to wait for their end."""
        return self._joiner.flush()

    @property
    def position(self) -> Position:
        """From where everything that was not delivered yet can be read again (see `seek`)."""
        pending = [waiting.position for waiting in self._joiner.pending.values()]
        here = (self._open.first if self._open else -1, self._identity, self._sequence)
        segment, known, sequence = min([*pending, here], key=lambda place: place[2])
        return Position(segment, known, sequence, dict(self._joiner.delivered) if pending else {})

    def seek(self, position: Position) -> None:
        """Go to a position of an earlier reader; what was deleted since then is added to `gap`."""
        self.close()
        found = segments.firsts(self.folder)
        segment = self._begin(position.segment) if position.segment in found else None
        if segment is not None:
            if position.identity in (0, identity(segment)):
                segments.skip_lines(segment, position.sequence - position.segment)
                self._identity, self._sequence = position.identity, position.sequence
                self._joiner.delivered = dict(position.done)
                return
            self.close()  # the folder was emptied and begun again
        elif later := [first for first in found if first > position.segment]:
            self._sequence = position.sequence
            self._joiner.delivered = dict(position.done)
            self._go_on(later[0])
            return
        self._sequence = 0

    def seek_since(self, since: str) -> None:
        """Go to the first record that is not older than `since`, or a few before it."""
        self.close()
        for first in reversed(segments.firsts(self.folder)):
            segment = self._begin(first)
            oldest = segments.time_at(segment, 0) if segment else ""
            if segment is not None and oldest and oldest < since:
                self._skip_to(segment, segments.since_offset(segment, since))
                return
        self.close()

    def seek_back(self, size: int) -> bool:
        """Go to a line about `size` bytes before the end; whether that is the oldest one."""
        self.close()
        for first in reversed(segments.firsts(self.folder)):
            segment = self._begin(first)
            if segment is None:
                continue
            length = segment.size()
            if length > size:
                self._skip_to(segment, segments.line_start(segment, length - size))
                return False
            size -= length
        self.close()
        return True

    def seek_end(self) -> None:
        """Go behind the last whole line: only what comes from now on is read."""
        self.seek_back(0)

    def _skip_to(self, segment: Segment, offset: int) -> None:
        self._sequence = segment.first + segments.count_lines(segment, offset)
        segment.seek(offset)

    def _begin(self, first: int) -> Segment | None:
        """Open the segment at its beginning; None when it is gone. Unfinished lines stay unfinished."""
        self._shut()
        self._open = open_segment(self.folder, first)
        if self._open is not None:
            self._sequence = first
        return self._open

    def _begin_after(self, sequence: int) -> Segment | None:
        """Open the oldest segment that begins after `sequence`; None when there is none."""
        for first in segments.firsts(self.folder):
            if first > sequence and (segment := self._begin(first)):
                return segment
        return None

    def _successor(self, segment: Segment) -> int | None:
        """The segment that follows this one, -1 when this one was deleted and the folder begun again."""
        found = segments.firsts(self.folder)
        if not found:
            return None
        if found[0] <= segment.first and segment.is_gone() and self._was_replaced(segment):
            return -1
        return next((first for first in found if first > segment.first), None)

    def _was_replaced(self, segment: Segment) -> bool:
        """Whether what bears the segment's name now is not the same: compressed, it would be."""
        now = open_segment(self.folder, segment.first)
        if now is None:
            return True
        same = identity(now) == identity(segment)
        now.close()
        return not same

    def _go_on(self, first: int) -> None:
        """Leave this segment for the one that begins with `first` (-1: the oldest there is)."""
        expected = self._sequence
        if first > expected:
            # Looked at while a segment's compressed form took its place, a large folder may show neither.
            least = max(expected, self._open.first + 1 if self._open else 0)
            first = next((one for one in segments.firsts(self.folder) if one >= least), first)
        if self._begin_after(first - 1) and first >= 0:
            self.gap += max(0, self._sequence - expected)

    def _follow_truncation(self, segment: Segment) -> None:
        """The supervisor takes a half-written block back when the disk is full: forget what we read of it."""
        if isinstance(segment, PlainSegment) and (size := segment.size()) < segment.tell():
            self._skip_to(segment, size)
            self._rest = b""

    def _take(self, segment: Segment, data: bytes) -> list[Record]:
        """The records of the lines that end in `data`."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()[:LINE_LIMIT]
        if not self._identity:
            self._identity = identity(segment)
        records = []
        for line in lines:
            record = self._joiner.feed(line, (segment.first, self._identity, self._sequence))
            self._sequence += 1
            if record is not None:
                records.append(record)
        return records
