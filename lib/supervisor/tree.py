"""The process table as /proc shows it: who descends from whom, and who carries our mark.

A process belongs to a service when its leader is an ancestor, when it is in the leader's session, or when
its environment carries the mark that the supervisor gave the leader: a daemon that forked twice and
changed its session still does. Linux only (proc(5)).

Nothing here takes "I could not look" for "it is gone": without a free descriptor a look fails.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
"""Where the kernel shows its process table."""

ENVIRON_MAX = 256 * 1024
"""Bytes of an environment that are looked at."""

LAST = 19
"""The nice value that gives way to everybody."""

KILL_ROUNDS = 40
"""Looks for what forked away while its kin was being frozen."""

GONE = (FileNotFoundError, ProcessLookupError)
"""How /proc says that a process has ended: when it is opened, or when it is read."""

HIDDEN = (*GONE, PermissionError)
"""The same, or it is another user's (the option hidepid of proc(5)): none that we could have started."""


class Entry(NamedTuple):
    """One line of the process table. `started` is in clock ticks since boot: with the pid, an identity."""

    pid: int
    parent: int
    session: int
    state: str
    started: int


class Table(dict[int, Entry]):
    """The process table of one moment, by pid. Whatever is looked up in it is worked out once: with some
    hundred processes to look for, the whole table a time would be too much."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        super().__init__((line.pid, line) for line in entries)
        self._environs: dict[int, frozenset[bytes]] = {}

    @cached_property
    def children(self) -> dict[int, list[int]]:
        """The pids below each pid."""
        found: dict[int, list[int]] = {}
        for line in self.values():
            found.setdefault(line.parent, []).append(line.pid)
        return found

    @cached_property
    def sessions(self) -> dict[int, list[int]]:
        """The pids of each session."""
        found: dict[int, list[int]] = {}
        for line in self.values():
            found.setdefault(line.session, []).append(line.pid)
        return found

    def carries(self, pid: int, mark: bytes) -> bool:
        """Whether `mark` stands in the environment that `pid` was started with.

        Raises: OSError.
        """
        if pid not in self._environs:
            self._environs[pid] = environ(pid)
        return mark in self._environs[pid]


def entry(pid: int) -> Entry | None:
    """The table's line for `pid`; None when there is no such process.

    Raises: OSError when that cannot be told.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as stream:  # noqa: PTH123 -- thrice as fast, per pid
            stat = stream.read(1024)
    except HIDDEN:
        return None
    # The name, in parentheses, may hold anything: the fields begin after the last one.
    fields = stat[stat.rfind(b")") + 2 :].split()
    if len(fields) < 20:
        return None
    return Entry(pid, int(fields[1]), int(fields[3]), fields[0].decode(), int(fields[19]))


def lives(pid: int) -> bool:
    """Whether there is a process `pid` that is not a zombie.

    Raises: OSError when that cannot be told.
    """
    line = entry(pid)
    return line is not None and line.state not in "ZX"


def age(line: Entry) -> float:
    """Seconds since the process of `line` started.

    Raises: OSError.
    """
    with open("/proc/uptime", "rb", buffering=0) as stream:  # noqa: PTH123 -- as above
        uptime = float(stream.read(64).split()[0])
    return max(0.0, uptime - line.started / os.sysconf("SC_CLK_TCK"))


def table() -> Table:
    """All processes but zombies, as they are now.

    Raises: OSError when one of them cannot be looked at.
    """
    found = (entry(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 -- names only
    return Table(line for line in found if line is not None and line.state not in "ZX")


def environ(pid: int) -> frozenset[bytes]:
    """The `NAME=value` strings that `pid` was started with; empty when it has ended, or is another user's.

    Raises: OSError when that cannot be told.
    """
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as stream:  # noqa: PTH123 -- as above
            return frozenset(stream.read(ENVIRON_MAX).split(b"\0"))
    except HIDDEN:
        return frozenset()


def namespace(pid: int) -> str:
    """The process namespace of `pid` (pid_namespaces(7)); that of this process where it cannot be read.

    Raises: OSError when that cannot be told.
    """
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")  # noqa: PTH115 -- as above
    except HIDDEN:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 -- as above


def command_line(pid: int) -> str:
    """The argv of `pid` for a message, at most 80 characters."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return "?"
    return raw.replace(b"\0", b" ").decode(errors="replace").strip()[:80] or "?"


def with_descendants(roots: Iterable[int], processes: Table) -> set[int]:
    """`roots` and everything below them, as far as they are in `processes`."""
    found: set[int] = set()
    todo = [pid for pid in roots if pid in processes]
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo.extend(processes.children.get(pid, ()))
    return found


def members(leader: int, started: int, mark: bytes, strays: Iterable[int], processes: Table) -> set[int]:
    """The processes of one leader: its session, those of `strays` that carry `mark`, and all below them.

    `strays` are the processes that may have left their session and their parent.
    """
    marked_strays = [pid for pid in strays if processes.carries(pid, mark)]
    return session_of(leader, started, processes) | with_descendants(marked_strays, processes)


def strays(supervisor: int, leaders: Container[int], processes: Table) -> set[int]:
    """What may belong to a leader and not be in its session: all below `supervisor` but `leaders`, and
    those whose parent is not in the table. (The table is not of one instant: a parent may have died between
    the line of its child and its own; the child will fall to the supervisor, but has not yet.)
    """
    orphans = {line.pid for line in processes.values() if line.parent and line.parent not in processes}
    below = with_descendants({supervisor, *orphans}, processes)
    return {pid for pid in below if pid != supervisor and pid not in leaders}


def session_of(leader: int, started: int, processes: Table) -> set[int]:
    """What lives of the session that the process `leader`, started at `started`, led; and all below it.

    Some programs write over their environment (nginx, redis): these are found by no mark, but by this. The
    number of a session that is empty is soon another's: then its leader has another start time.
    """
    line = processes.get(leader)
    if line is not None and line.started != started:
        return set()
    return with_descendants(processes.sessions.get(leader, ()), processes)


def ancestors(pid: int, processes: Table) -> set[int]:
    """The processes above `pid`."""
    found: set[int] = set()
    while (line := processes.get(pid)) and line.parent and line.parent not in found:
        pid = line.parent
        found.add(pid)
    return found


def marked(mark: bytes, processes: Table) -> set[int]:
    """All processes of this machine that carry `mark`, and what descends from them.

    A container's processes stand in the table too, and its instance may have the same folders: what is in
    another process namespace is another machine's.
    """
    here = namespace(os.getpid())
    roots = [pid for pid in processes if processes.carries(pid, mark) and namespace(pid) == here]
    return with_descendants(roots, processes)


def kill(look: Callable[[], set[int]]) -> None:
    """Kill what `look` finds. Freeze first, so that nothing forks away from under the killing."""
    frozen: set[int] = set()
    with one_notice():
        for _ in range(KILL_ROUNDS):
            found = look()
            if found <= frozen:
                break
            _slow_down(found - frozen)
            send(found - frozen, signal.SIGSTOP)
            frozen |= found
        send(frozen, signal.SIGKILL)


def _slow_down(pids: Iterable[int]) -> None:
    """Put processes last at the processor: what they fork until they are frozen inherits that."""
    for pid in pids:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, LAST)


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal each of `pids`; one that is gone or not ours is passed over."""
    with one_notice():
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


@contextmanager
def one_notice() -> Iterator[None]:
    """Hear once, at the end, of all children that end or freeze meanwhile.

    Else each SIGCHLD calls its handler in the middle of the one before; with 500 children under a profiler
    CPython 3.11 then never comes back (a pending signal makes a traced RESUME run again and again).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
