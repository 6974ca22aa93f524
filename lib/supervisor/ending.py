"""Ending processes by command: the whole tree, gently first, and proof that nothing is left.

The leader's death does not end the hunt: its session, strays that carry its mark, and everything below
them must be gone as well.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress

from lib.supervisor import tree
from lib.supervisor.child import Children
from lib.supervisor.process import Process

HUNT_ROUNDS = 20
"""Times to kill what is found, at least: on a machine with too much to do a single one may take long."""
HUNT_LIMIT = 5.0
"""Seconds that SIGKILL may take before what is left is named as a survivor."""

HUNT_PAUSE = 0.01
"""Seconds between two looks at the process table while a tree dies; it doubles up to HUNT_PAUSE_MAX."""
HUNT_PAUSE_MAX = 0.2

COMMAND = "stopped by command"
"""The usual reason of an end."""

NO_SESSION = -1
"""No process is in it."""


class Hunt:
    """The trees of some processes, found anew in the process table at each look."""

    def __init__(self, processes: list[Process], children: Children) -> None:
        """The trees are those of now: what is started meanwhile is another's."""
        self._started = {process: process.record().started for process in processes}
        self.sessions = {
            # Where the leader is gone, its number may be a stranger's by now: then only the mark counts.
            process: process.session if process.child is not None else NO_SESSION
            for process in processes
            if process.session
        }
        self._marks = {process: process.mark for process in self.sessions}
        self._children = children
        self._seen: dict[Process, dict[int, int]] = {process: {} for process in self.sessions}
        """Pid and start time of what was found so far."""
        self.blind = ""
        """Why the last look saw nothing; a look that failed proves nothing."""

    def look(self) -> dict[Process, set[int]]:
        """What lives of each process's tree; processes without any are left out.

        When the process table cannot be read (no descriptor is left) nobody is taken for gone: what is known
        of each is its leader, whose number is its own until we have taken its exit.
        """
        try:
            self.blind = ""
            return self._look()
        except OSError as error:
            self.blind = f"the process table cannot be read: {error.strerror}"
            return {process: {process.pid} if process.pid else set() for process in self.sessions}

    def _look(self) -> dict[Process, set[int]]:
        table = tree.table()
        # The strays of adopted children fell to init, not to us: there everybody is looked at.
        anywhere = any(process.adopted for process in self.sessions)
        strays = table if anywhere else tree.strays(os.getpid(), self._children, table)
        found: dict[Process, set[int]] = {}
        for process, session in self.sessions.items():
            pids = tree.members(session, self._started[process], self._marks[process], strays, table)
            # One that is dying has lost its mark, and its session says nothing, but it is not gone yet.
            seen = self._seen[process]
            pids |= {pid for pid, started in seen.items() if pid in table and table[pid].started == started}
            seen.update((pid, table[pid].started) for pid in pids)
            if pids:
                found[process] = pids
        return found


async def end(
    processes: list[Process], children: Children, *, at_once: bool = False, why: str = COMMAND
) -> list[str]:
    """End `processes` with their trees; the answer names what is left, `name: pid 12 (command)` each.

    Each gets its own stop signal and time; `at_once` (quit) begins with SIGKILL.
    """
    living = [process for process in processes if process.child is not None]
    for process in processes:
        if process.child is None:
            process.disarm(why)
    hunt = Hunt(processes, children)
    for process in living:
        if process.state != "stopping":  # else another command is at it, and we overtake or join it
            process.leaving()
    asked = time.monotonic()
    if not at_once:
        _ask(hunt)
        await _wait_for_leaders(living)
    survivors: list[str] = []
    pause, killing_since, rounds = HUNT_PAUSE, None, 0
    while left := hunt.look():
        now = time.monotonic()
        due = {
            process: pids
            for process, pids in left.items()
            if at_once or now - asked >= process.service.stop.timeout
        }
        if due:
            killing_since = killing_since or now
            _kill(due, hunt)
            rounds += 1
            if rounds >= HUNT_ROUNDS and now - killing_since > HUNT_LIMIT:
                survivors = [
                    f"{process.spec.name}: pid {pid} ({tree.command_line(pid)})"
                    for process, pids in left.items()
                    for pid in sorted(pids)
                ]
                survivors += [hunt.blind] if hunt.blind else []
                break
        await asyncio.sleep(pause)
        pause = min(pause * 2, HUNT_PAUSE_MAX)
    for process in living:
        if not survivors and process.state == "stopping":
            # The table shows no zombies: the exit may not have been taken yet.
            await process.ended.wait()
        if process.state == "stopping":
            process.gone(why)
    return survivors


def _ask(hunt: Hunt) -> None:
    trees = hunt.look()
    with tree.one_notice():
        _ask_each(hunt, trees)


def _ask_each(hunt: Hunt, trees: dict[Process, set[int]]) -> None:
    for process, session in hunt.sessions.items():
        number = signal.Signals[f"SIG{process.service.stop.signal}"]
        if session != NO_SESSION:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(session, number)
        # Those that left the group hear it too: nobody else would tell them.
        outside = (pid for pid in trees.get(process, ()) if _group(pid) not in (session, None))
        tree.send(outside, number)


async def _wait_for_leaders(processes: list[Process]) -> None:
    async def wait(process: Process) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(process.ended.wait(), process.service.stop.timeout)

    if processes:
        await asyncio.gather(*(wait(process) for process in processes))


def _kill(due: dict[Process, set[int]], hunt: Hunt) -> None:
    tree.kill(lambda: {pid for process, pids in hunt.look().items() if process in due for pid in pids})


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
