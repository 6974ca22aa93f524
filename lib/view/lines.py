"""The lines of the log that the view holds: bounded, filtered, searched. No terminal, no Textual."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from lib.logs.record import Record
from lib.logs.show import UNSAFE

KEPT = 5000
"""Lines that are held; older ones are in the files, and `ampzero logs` shows them."""
DROP = 500
"""Lines that go at once when there are too many, so that not every new line moves all others."""
LONGEST = 10_000
"""Characters of a line that are shown."""
SGR = re.compile(r"\x1b\[[0-9;:]*m")


class Line(NamedTuple):
    """One line: local `time` (HH:MM:SS), `who` wrote it, on which `stream`; `text` may hold SGR colours."""

    time: str
    who: str
    stream: str
    text: str

    @property
    def plain(self) -> str:
        """The text without colours."""
        return SGR.sub("", self.text) if "\x1b" in self.text else self.text


def line(record: Record) -> Line:
    """A record as a line: harmless for a terminal, bounded, tabs as blanks."""
    raw = UNSAFE.sub(lambda found: found[0] if found[0].endswith(b"m") else b"?", record.text.rstrip(b"\r"))
    text = raw.decode("utf-8", "replace").expandtabs(8)
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}… ({len(text) - LONGEST} more characters)"
    try:
        time = datetime.fromisoformat(record.time).astimezone().strftime("%H:%M:%S")
    except (ValueError, OverflowError):
        time = record.time[11:19]
    return Line(time, record.process if record.number else record.service, record.stream, text)


def found_in(text: str, wanted: str) -> list[tuple[int, int]]:
    """Where `wanted` stands in `text`, as (start, end). Without a capital in it, case does not matter."""
    if not wanted:
        return []
    flags = re.IGNORECASE if wanted == wanted.lower() else 0
    return [found.span() for found in re.finditer(re.escape(wanted), text, flags)]


class Lines:
    """The held lines; `shown` are those that pass the filter. `dropped` counts how many of `shown` went."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._all: list[Line] = []
        self.filter = ""
        self.search = ""
        self.shown: list[Line] = []

    def add(self, records: Iterable[Record]) -> int:
        """Take records in; how many of the oldest shown lines went for them."""
        new = [line(record) for record in records]
        self._all += new
        self.shown += [each for each in new if self._passes(each)]
        if len(self._all) <= self._kept:
            return 0
        excess = max(DROP, len(self._all) - self._kept)
        gone = sum(self._passes(each) for each in self._all[:excess])
        del self._all[:excess]
        del self.shown[:gone]
        return gone

    def clear(self) -> None:
        """Forget all lines; the filter and the search stay."""
        self._all, self.shown = [], []

    def set_filter(self, text: str) -> None:
        """Show only lines that contain `text`; all when it is empty."""
        self.filter = text
        self.shown = [each for each in self._all if self._passes(each)]

    def hits(self) -> list[int]:
        """The indices in `shown` of the lines that contain the search."""
        return [index for index, each in enumerate(self.shown) if found_in(each.plain, self.search)]

    def _passes(self, each: Line) -> bool:
        return not self.filter or bool(found_in(each.plain, self.filter))
