"""How far the deploy that is under way has come on this host: one line before each step, synced.

A line is a JSON object with its CRC-32. A crash may tear the last one: it is dropped, for the step that it
names was not begun. Anything else that does not fit is damage, and an error.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

from deploy.agent import durable
from deploy.agent.errors import AgentError

ORDER = (
    "STAGED", "PREPARED", "COMMITTED", "DURABLE", "CLOSING", "CLOSED", "SWAPPING", "SWAPPED", "STARTING",
    "HEALTHY", "OPENING", "OPEN", "FINISHED",
)  # fmt: skip
"""The states of a deploy. COMMITTED: the decision is known here; DURABLE: and it stands."""
ABORTED = "ABORTED"
ENDED = ("FINISHED", ABORTED)
UNDECIDED = ("STAGED", "PREPARED", "COMMITTED")
"""Those from which a deploy can still be given up."""
NEXT = {
    **{state: {state, after} for state, after in pairwise(ORDER)},
    "STAGED": {"STAGED", "PREPARED", ABORTED},
    "PREPARED": {"PREPARED", "STAGED", "COMMITTED", "DURABLE", ABORTED},
    "COMMITTED": {"COMMITTED", "DURABLE", ABORTED},
    "DURABLE": {"DURABLE", "CLOSING", "SWAPPING"},
    "HEALTHY": {"HEALTHY", "OPENING", "FINISHED"},
    "FINISHED": {"FINISHED"},
    ABORTED: {ABORTED, "STAGED"},
}
"""The states that may follow a state in the same deploy; a compatible one neither closes nor opens."""
COMPACT_AT = 64 * 1024
"""Bytes from which a new deploy begins a new file."""
LARGEST = 4 * 1024 * 1024


@dataclass(frozen=True)
class Entry:
    """One line. `by` is coordinator or keeper; `error` says why the step that the state names failed."""

    state: str
    epoch: int
    sequence: int
    release: str
    time: float = 0.0
    by: str = "coordinator"
    error: str = ""

    def at_least(self, state: str) -> bool:
        """Whether the deploy has come as far as `state`; one that was given up has come nowhere."""
        return self.state in ORDER and ORDER.index(self.state) >= ORDER.index(state)

    @property
    def ended(self) -> bool:
        """Whether nothing is to be done any more."""
        return self.state in ENDED


Write = Callable[[Path, int, bytes], None]


def write_line(path: Path, offset: int, line: bytes) -> None:
    """Put `line` at `offset`, cut off what was behind, and have it on the disk.

    Raises: AgentError.
    """
    with durable.storage(path):
        is_new = not path.exists()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(handle, offset)
            os.pwrite(handle, line, offset)
            os.fsync(handle)
        finally:
            os.close(handle)
        if is_new:
            durable.sync_folder(path.parent)


class Journal:
    """The journal at `path`. `write` puts a line at an offset and syncs it (a test cuts it short)."""

    def __init__(self, path: Path, write: Write = write_line, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._write = write
        self._clock = clock

    def entries(self) -> list[Entry]:
        """All whole lines.

        Raises: AgentError that names the file where it is damaged.
        """
        return self._read()[0]

    def last(self) -> Entry | None:
        """The state of the newest deploy, ended or not."""
        entries = self.entries()
        return entries[-1] if entries else None

    def pending(self) -> Entry | None:
        """The deploy that is under way, None where nothing is to be done."""
        last = self.last()
        return None if last is None or last.ended else last

    def begin(self, epoch: int, sequence: int, release: str) -> Entry:
        """STAGED: a new deploy, or another epoch for one that is not decided yet.

        Raises: AgentError where that may not be.
        """
        entries, size = self._read()
        entry = Entry("STAGED", epoch, sequence, release)
        last = entries[-1] if entries else None
        if last and (last.sequence > sequence or (last.sequence == sequence and last.release != release)):
            raise AgentError(f"the release {sequence} is older than what is here ({last.sequence})", "", 11)
        if last and last.sequence == sequence:
            self._check(last, entry)
        if size > COMPACT_AT and (last is None or last.ended):
            durable.write(self.path, b"".join(encode(each) for each in entries[-1:]))
        return self._append(entry)

    def step(self, state: str, *, epoch: int = 0, by: str = "coordinator", error: str = "") -> Entry:
        """Write that the deploy goes on to `state`.

        Raises: AgentError where it cannot from where it is.
        """
        last = self.last()
        if last is None:
            raise AgentError("nothing was staged here", "deploy again")
        entry = replace(last, state=state, epoch=epoch or last.epoch, by=by, error=error[:500])
        self._check(last, entry)
        return self._append(entry)

    def _check(self, last: Entry, entry: Entry) -> None:
        if entry.state not in NEXT[last.state]:
            raise AgentError(
                f"the deploy of {last.release} is {last.state.lower()} here and cannot become "
                f"{entry.state.lower()}", "see: ampzero hosts",
            )  # fmt: skip

    def _append(self, entry: Entry) -> Entry:
        entry = replace(entry, time=round(self._clock(), 3))
        # Read again: what a crash tore off must not stay before the new line.
        self._write(self.path, self._read()[1], encode(entry))
        return entry

    def _read(self) -> tuple[list[Entry], int]:
        """The entries, and how many bytes of the file are good."""
        data = durable.read(self.path) or b""
        if len(data) > LARGEST:
            raise AgentError(f"{self.path} is too large to be ours", "see docs/deploy.md", 8)
        entries: list[Entry] = []
        good = 0
        lines = data.split(b"\n")
        for number, line in enumerate(lines[:-1], 1):
            entry = decode(line)
            if entry is None:
                if number == len(lines) - 1 and not lines[-1]:
                    break
                raise AgentError(
                    f"{self.path}:{number} is damaged", "see docs/deploy.md: a damaged journal", 8
                )
            entries.append(entry)
            good += len(line) + 1
        return entries, good


def encode(entry: Entry) -> bytes:
    """The entry's line."""
    fields = asdict(entry)
    body = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    fields["crc"] = zlib.crc32(body.encode())
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Entry | None:
    """The entry of a line, None where it is damaged."""
    try:
        fields = json.loads(line)
        crc = fields.pop("crc")
        body = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        if type(crc) is not int or zlib.crc32(body.encode()) != crc:
            return None
        entry = Entry(**fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return entry if entry.state in NEXT else None
