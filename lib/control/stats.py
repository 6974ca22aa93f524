"""What processes use: processor time, memory, threads, open files; of each with all below it, from /proc.

One pass over /proc serves any number of processes (500 in some 30 ms), and nothing is read until somebody
asks. Linux only: proc(5).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
FORGET_AFTER = 600.0
"""Seconds after which the last look at a process that nobody asks for any more is forgotten."""


class Line(NamedTuple):
    """One process by itself. Times in seconds, memory in bytes; `started` in ticks since boot.

    `cpu` counts the children that it waited for.
    """

    pid: int
    parent: int
    session: int
    command: str
    cpu: float
    nice: int
    threads: int
    started: int
    virtual: int
    memory: int


class Usage(NamedTuple):
    """A process and all below it. `memory` sums resident pages, shared ones more than once; None: unknown."""

    pid: int
    cpu: float
    memory: int
    virtual: int
    threads: int
    fds: int | None
    processes: int


NOTHING = Usage(0, 0.0, 0, 0, 0, 0, 0)


def line(pid: int) -> Line | None:
    """The process `pid`; None when there is none, or only its zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as stream:  # noqa: PTH123 -- thrice as fast, per pid
            stat = stream.read(2048)
    except OSError:
        return None
    # The name, in parentheses, may hold anything: the fields begin after the last one.
    end = stat.rfind(b")")
    fields = stat[end + 2 :].split()
    if len(fields) < 22 or fields[0] in (b"Z", b"X"):
        return None
    ticks = sum(int(field) for field in fields[11:15])
    return Line(
        pid=pid, parent=int(fields[1]), session=int(fields[3]),
        command=stat[stat.find(b"(") + 1 : end].decode(errors="replace"), cpu=ticks / TICKS,
        nice=int(fields[16]), threads=int(fields[17]), started=int(fields[19]), virtual=int(fields[20]),
        memory=int(fields[21]) * PAGE,
    )  # fmt: skip


class Table:
    """All processes of one moment."""

    def __init__(self) -> None:
        found = (line(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 -- names only
        self.lines = {each.pid: each for each in found if each is not None}
        self._below: dict[int, list[int]] = {}
        self._session: dict[int, list[int]] = {}
        for each in self.lines.values():
            self._below.setdefault(each.parent, []).append(each.pid)
            self._session.setdefault(each.session, []).append(each.pid)

    def members(self, pid: int) -> list[int]:
        """`pid`, the processes of its session when it leads one, all below them; empty when it is gone."""
        if pid not in self.lines:
            return []
        todo, found = [pid, *self._session.get(pid, ())], dict[int, None]()
        while todo:
            each = todo.pop(0)
            if each not in found:
                found[each] = None
                todo.extend(self._below.get(each, ()))
        return list(found)

    def usage(self, pid: int, *, fds: bool = False) -> Usage | None:
        """What `pid` and all below it use, None when it is gone; open files only with `fds`."""
        lines = [self.lines[each] for each in self.members(pid)]
        if not lines:
            return None
        return Usage(
            pid=pid, cpu=sum(each.cpu for each in lines), memory=sum(each.memory for each in lines),
            virtual=sum(each.virtual for each in lines), threads=sum(each.threads for each in lines),
            fds=sum(open_files(each.pid) or 0 for each in lines) if fds else None, processes=len(lines),
        )  # fmt: skip


def own(pid: int) -> Usage | None:
    """What `pid` uses by itself, without those below it, its open files too; None when it is gone."""
    found = line(pid)
    if found is None:
        return None
    return Usage(pid, found.cpu, found.memory, found.virtual, found.threads, open_files(pid), 1)


def open_files(pid: int) -> int | None:
    """How many files `pid` has open; None when that cannot be seen."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 -- names only
    except OSError:
        return None


def proportional(pids: Iterable[int]) -> int:
    """Bytes of memory with shared pages divided among those who share them (PSS); costs much more to read."""
    total = 0
    for pid in pids:
        with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/smaps_rollup", "rb") as stream:  # noqa: PTH123 -- as above
            total += next((int(row.split()[1]) for row in stream if row.startswith(b"Pss:")), 0) * 1024
    return total


def boot_time() -> float:
    """When the machine started, in seconds since 1970."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def total_memory() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * PAGE


class Meter:
    """Processor time as percents of one processor between two looks at the same process.

    The first look at a process gives its average since it started.
    """

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, float, float, float]] = {}

    def percent(self, pid: int, started: int, cpu: float) -> float:
        """How busy the process was that has used `cpu` seconds; `started` in ticks since boot."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        before = self._last.get(pid)
        if before is None or before[0] != started:
            before = (started, 0.0, started / TICKS, 0.0)
        _, cpu_before, at, shown = before
        if now - at < 0.05:
            # Two looks at once: clock ticks are coarser than that.
            return shown
        found = max(0.0, cpu - cpu_before) / (now - at) * 100
        if len(self._last) > 1000:
            self._last = {each: seen for each, seen in self._last.items() if now - seen[2] < FORGET_AFTER}
        self._last[pid] = (started, cpu, now, found)
        return found


def fill(status: dict[str, Any], meter: Meter, table: Table | None = None) -> None:
    """Give every process of a `status` its `cpu` (percent of one processor) and `memory` (bytes).

    None for one that does not live. With everything below it, as `Usage`.
    """
    table = table or Table()
    for service in status["services"]:
        for process in service["processes"]:
            usage = table.usage(process["pid"]) if process["pid"] else None
            process["memory"] = usage.memory if usage else None
            process["cpu"] = None
            if usage:
                started = table.lines[usage.pid].started
                process["cpu"] = round(meter.percent(usage.pid, started, usage.cpu), 1)
