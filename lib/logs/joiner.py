"""Puts the pieces of long lines together again, within bounds."""

from __future__ import annotations

from dataclasses import dataclass, field

from lib.logs.record import Record, parse

JOIN_LIMIT = 1 << 20
"""Bytes up to which pieces are joined; a longer line becomes several records, all but the last `partial`."""
OLDEST = "1970-01-01T00:00:00.000000Z"
"""The time of a line without one, when nothing was before it."""
PENDING_LIMIT = 1000
"""Unfinished lines of one service at a time (a process has at most two)."""


@dataclass
class Pending:
    """A line whose end has not been read yet; `position` is that of its first piece."""

    position: tuple[int, int, int]
    record: Record
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0


class Joiner:
    """Turns the lines of one service into records, in the order in which the lines end."""

    def __init__(self, service: str, limit: int = JOIN_LIMIT) -> None:
        self.service = service
        self.limit = limit
        self.pending: dict[tuple[int, str], Pending] = {}
        self.delivered: dict[tuple[int, str], int] = {}
        """Per process and stream the last sequence given while other lines were unfinished (see Position)."""
        self._time = ""

    def feed(self, line: bytes, position: tuple[int, int, int]) -> Record | None:
        """The record that `line` completes; None while it goes on. `position` ends with its sequence.

        A line that is not in the format is given as one of process 0 on `sys`, so that nothing is hidden.
        """
        found = parse(line)
        sequence = position[2]
        if found is None:
            time, number, stream, goes_on, text = self._time or OLDEST, 0, "sys", False, line
        else:
            time, number, stream, goes_on, text = found
            self._time = time
        record = Record(time, self.service, number, stream, sequence, text, goes_on)
        if not (goes_on or self.pending or self.delivered):
            return record
        key = (number, stream)
        if sequence <= self.delivered.get(key, -1):
            return None
        complete = self._join(key, record, position)
        if self.pending:
            if complete is not None:
                self.delivered[key] = sequence
        elif self.delivered and sequence > max(self.delivered.values()):
            self.delivered.clear()
        return complete

    def _join(self, key: tuple[int, str], record: Record, position: tuple[int, int, int]) -> Record | None:
        """`record` with the pieces before it when the line ends here, or cannot be kept longer."""
        waiting = self.pending.get(key)
        if waiting is None:
            if not record.partial or len(self.pending) >= PENDING_LIMIT:
                return record
            waiting = self.pending[key] = Pending(position, record)
        waiting.record = record
        waiting.pieces.append(record.text)
        waiting.size += len(record.text)
        if record.partial and waiting.size < self.limit:
            return None
        del self.pending[key]
        return record._replace(text=b"".join(waiting.pieces))

    def flush(self) -> list[Record]:
        """What there is of unfinished lines, as partial records; their rest becomes records of its own."""
        waiting = sorted(self.pending.values(), key=lambda pending: pending.record.sequence)
        self.pending.clear()
        return [pending.record._replace(text=b"".join(pending.pieces)) for pending in waiting]
