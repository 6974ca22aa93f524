"""What a supervisor must not forget if it is killed: one line for each change of a process's state.

The file is there while a supervisor runs and gone after a clean end: finding it means that the last one
died. A torn last line, as a kill leaves it, is passed over.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from lib.files import storage_errors
from lib.supervisor import tree
from lib.supervisor.states import State

COMPACT_AT = 4 * 1024 * 1024
"""Bytes from which the file is written anew with only the last line of each process."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A process after a change. `started` is the child's start in clock ticks since boot, `spec` the digest
    of what it was started with, `spawn` the child's number, `restarts` those that were not commanded, `last`
    is how the last run of a scheduled one ended."""

    process: str
    state: State
    since: float
    pid: int = 0
    started: int = 0
    spawn: int = 0
    restarts: int = 0
    spec: str = ""
    reason: str = ""
    last: str = ""


def replay(path: Path) -> dict[str, Record]:
    """The last record of each process, by its name; empty when there is no journal."""
    found: dict[str, Record] = {}
    with suppress(FileNotFoundError), path.open("rb") as lines:
        for line in lines:
            with suppress(msgspec.DecodeError):
                record = msgspec.json.decode(line, type=Record)
                found[record.process] = record
    return found


def living(known: Iterable[Record], processes: tree.Table) -> set[int]:
    """The processes that still belong to the children in `known`."""
    found: set[int] = set()
    for record in known:
        if record.pid:
            found |= tree.session_of(record.pid, record.started, processes)
    return found


class Journal:
    """The open journal. Writing never fails the caller: a full disk costs memory of a crash, no service."""

    def __init__(self, path: Path, known: dict[str, Record]) -> None:
        """Begin a journal at `path` that holds `known`.

        Raises: StorageError.
        """
        self._path = path
        self._last = dict(known)
        self._behind = False
        """Whether the file lacks a line that the disk had no room for."""
        with storage_errors(path):
            self._handle, self._size = self._begin()

    def write(self, record: Record) -> None:
        """Append `record`."""
        if self._handle < 0:
            return
        self._last[record.process] = record
        line = msgspec.json.encode(record) + b"\n"
        try:
            if self._behind or self._size > COMPACT_AT:
                self._begin_again()
            elif os.write(self._handle, line) < len(line):
                # A part of a line would spoil the next one.
                self._behind = True
                os.ftruncate(self._handle, self._size)
            else:
                self._size += len(line)
        except OSError:
            self._behind = True

    def forget(self, process: str) -> None:
        """Drop a process that left the plan."""
        if (last := self._last.get(process)) is not None:
            self.write(msgspec.structs.replace(last, state="stopped", pid=0))
            del self._last[process]

    def let_go(self) -> None:
        """Write no more, and leave it to the supervisor that comes next."""
        os.close(self._handle)
        self._handle = -1

    def close(self) -> None:
        """A clean end: there is nothing to remember."""
        os.close(self._handle)
        self._path.unlink(missing_ok=True)

    def _begin_again(self) -> None:
        old = self._handle
        self._handle, self._size = self._begin()
        self._behind = False
        os.close(old)

    def _begin(self) -> tuple[int, int]:
        # Written aside and renamed: a kill in between leaves the old one or the new one.
        aside = self._path.with_suffix(".new")
        block = b"".join(msgspec.json.encode(record) + b"\n" for record in self._last.values())
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.write(handle, block) < len(block):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(aside))
            aside.rename(self._path)
        except OSError:
            os.close(handle)
            raise
        return handle, len(block)
