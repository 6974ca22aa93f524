"""The logs of all hosts as one, by time: what there is, and on as it grows.

The hosts' clocks differ: a record is put where it belongs by ours, and shown with its own time. Who follows
sees a record a moment later than it was written, so that those of a slower host still find their place.
"""

from __future__ import annotations

import heapq
import queue
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from deploy.fleet import Fleet, Member
from lib.errors import AmpzeroError
from lib.logs.record import Record, stamp, unix

CALL_TIME = 90.0
"""Seconds for one answer; an agent ends one after a minute at most."""
HOLD = 1.0
"""Seconds that a record waits for older ones of other hosts."""
LOOK = 0.1
WAITING = 20_000
"""Records that wait to be shown; a host that writes faster has to wait."""


@dataclass(frozen=True, order=True)
class Line:
    """A record of a host; `time` is in seconds of our own clock."""

    time: float
    host: str
    sequence: int
    record: Record


class _Shown(msgspec.Struct):
    """A record as `ampzero logs --json` writes it."""

    time: str
    service: str
    process: int
    stream: str
    sequence: int
    text: str
    bytes: str = ""
    partial: bool = False


class HostLogs:
    """Reads the logs of a connected fleet; `selection` are the fields of the agent's operation `logs`."""

    def __init__(self, fleet: Fleet, selection: Mapping[str, Any]) -> None:
        self._fleet = fleet
        self._selection = dict(selection)
        self._lines: queue.Queue[Line] = queue.Queue(WAITING)
        self._done = threading.Event()

    def read(self, lines: int | None) -> list[Line]:
        """What there is, oldest first; of all hosts together the last `lines` (None: all)."""
        found: list[Line] = []

        def ask(member: Member) -> None:
            own: list[Line] = []
            self._ask(member, own.append, lines=lines)
            found.extend(own)

        self._fleet.each(self._fleet.alive, ask)
        found.sort()
        return found if lines is None else found[len(found) - min(lines, len(found)) :]

    def follow(self, lines: int | None) -> Iterator[Line]:
        """The same, and on as more is written, until no host is left or the iterator is closed."""
        begun = time.time()
        before = self.read(lines)
        yield from before
        seen: dict[str, dict[str, int]] = {}
        for line in before:
            seen.setdefault(line.host, {})[line.record.service] = line.sequence
        worker = threading.Thread(target=self._follow_all, args=(begun, seen), daemon=True)
        worker.start()
        held: list[Line] = []
        try:
            while worker.is_alive() or held or not self._lines.empty():
                self._take(held)
                while held and (held[0].time < time.time() - HOLD or len(held) > WAITING):
                    yield heapq.heappop(held)
        finally:
            self._done.set()

    def _take(self, held: list[Line]) -> None:
        try:
            heapq.heappush(held, self._lines.get(timeout=LOOK))
            while len(held) <= WAITING:
                heapq.heappush(held, self._lines.get_nowait())
        except queue.Empty:
            pass

    def _follow_all(self, begun: float, seen: Mapping[str, dict[str, int]]) -> None:
        def go_on(member: Member) -> None:
            last = dict(seen.get(member.name, {}))
            newest = [begun + member.skew]

            def pass_on(line: Line) -> None:
                newest[0] = max(newest[0], unix(line.record.time))
                if line.sequence > last.get(line.record.service, -1):
                    last[line.record.service] = line.sequence
                    self._put(line)

            while not self._done.is_set():
                self._ask(member, pass_on, follow=True, since=stamp(newest[0]))

        self._fleet.each(self._fleet.alive, go_on)

    def _put(self, line: Line) -> None:
        while not self._done.is_set():
            try:
                self._lines.put(line, timeout=LOOK)
            except queue.Full:
                continue
            return

    def _ask(self, member: Member, show: Callable[[Line], None], **more: Any) -> None:
        """Raises: AmpzeroError that names the host."""

        def heard(event: dict[str, Any]) -> None:
            records = event.get("records")
            for text in records if isinstance(records, list) else ():
                record = _record(text, member.name)
                show(Line(unix(record.time) - member.skew, member.name, record.sequence, record))

        member.call("logs", timeout=CALL_TIME, heard=heard, **{**self._selection, **more})


def _record(text: object, host: str) -> Record:
    """Raises: AmpzeroError for what a host sends that is none."""
    try:
        shown = msgspec.json.decode(str(text), type=_Shown)
        unix(shown.time)
        raw = b64decode(shown.bytes, validate=True) if shown.bytes else shown.text.encode()
    except (msgspec.DecodeError, ValueError, OverflowError) as error:
        raise AmpzeroError(f"{host}: its log makes no sense: {error}") from error
    return Record(shown.time, shown.service, shown.process, shown.stream, shown.sequence, raw, shown.partial)
