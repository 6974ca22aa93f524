"""Taking over what a supervisor that died left running: its children, by pid and start time, and no others.

A child is taken back when it is in the plan as it was started then; whatever else carries the instance's
mark is ended: a child of an older plan, or one that the journal does not know since the kill came between
its start and the journal's line.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterable
from typing import NamedTuple

from lib.supervisor import tree
from lib.supervisor.journal import Record, living
from lib.supervisor.process import Process
from lib.supervisor.spec import digest
from lib.supervisor.states import SETTLED

WITHOUT_COMMAND = frozenset({"starting", "ready", "unready", "backoff"})
"""What the journal says of a process that was started, and that nobody ended by command."""

END_TIME = 5.0
"""Seconds that the others get to end by SIGTERM before SIGKILL."""


class Adopted(NamedTuple):
    """How many children were `taken` over; processes that have none and need none; those that had one which
    ended while nobody looked, or could not be taken over, and are to have another at once."""

    taken: int
    settled: set[Process]
    again: list[Process]


def adopt(processes: Iterable[Process], known: dict[str, Record], *, runs_on: bool = False) -> Adopted:
    """Let each process take its living child over.

    Those that had ended for good, or were stopped by command, stay so if anything was adopted: the run goes
    on, and one that ended while nobody looked has restarted once more. Where nothing lives (the machine was
    off) it begins anew, unless the run is known to go on: `runs_on`.
    """
    all_of_them = list(processes)
    count = 0
    settled: set[Process] = set()
    again: list[Process] = []
    for process in all_of_them:
        record = known.get(process.spec.name)
        if record is not None:
            # Also of one that is to be started differently now, as in a reload.
            process.spawns, process.restarts = record.spawn, record.restarts
            if record.spec == digest(process.spec) and not _begins_anew(process, record):
                count += process.adopt(record)
    if count or runs_on:
        for process in all_of_them:
            record = known.get(process.spec.name)
            if process.child is not None:
                continue
            if record is None:
                # Put there by a scale of a service that was stopped: it stays as its siblings are.
                kin = [known[each.spec.name].state for each in all_of_them
                       if each.spec.service == process.spec.service and each.spec.name in known]  # fmt: skip
                if kin and set(kin) == {"stopped"}:
                    settled.add(process)
                continue
            if record.state in SETTLED:
                process.resume(record)
                settled.add(process)
            elif record.state in WITHOUT_COMMAND and record.spec == digest(process.spec):
                process.restarts += record.state != "backoff" and not _lives(record)
                again.append(process)
    return Adopted(count, settled, again)


def _lives(record: Record) -> bool:
    try:
        line = tree.entry(record.pid)
    except OSError:
        return True  # not known to have ended
    return line is not None and line.started == record.started and line.state not in "ZX"


def _begins_anew(process: Process, record: Record) -> bool:
    """Whether a living child is of no use: it was told to end, or it may have said that it is ready when
    nobody listened, and says so once."""
    ready = process.spec.ready
    if record.state == "stopping":
        return True
    return record.state == "starting" and ready is not None and ready.kind in ("log", "notify")


async def end_others(var: str, processes: Iterable[Process], known: dict[str, Record]) -> int:
    """End what carries the mark of the instance at `var`, or is `known`, and is in no process's tree.

    The answer is how many there were.
    """
    mark, me = f"AMPZERO_VAR={var}".encode(), os.getpid()
    ours = list(processes)
    until, count, number = time.monotonic() + END_TIME, 0, signal.SIGTERM
    asked: set[int] = set()
    while True:
        try:
            table = tree.table()
            left = tree.marked(mark, table) | living(known.values(), table)
            left -= {me, *tree.ancestors(me, table), *_kept(ours, table)}
        except OSError:
            # The table cannot be read now (no descriptor is left): that is no proof that nobody is there.
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.02)
            continue
        if not left:
            return count
        count = max(count, len(left))
        if time.monotonic() > until:
            number = signal.SIGKILL
        tree.send(left if number == signal.SIGKILL else left - asked, number)
        asked |= left
        await asyncio.sleep(0.02)


def _kept(processes: Iterable[Process], table: tree.Table) -> set[int]:
    """The trees of those of `processes` that have a child."""
    found: set[int] = set()
    for process in processes:
        if process.child is not None:
            found |= tree.members(process.session, process.record().started, process.mark, table, table)
    return found
