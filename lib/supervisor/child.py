"""Starting OS processes and learning of their end at once: a pidfd wakes the loop, nothing polls.

This is the one module that knows the platform: pidfds and the subreaper are Linux's (pidfd_open(2),
prctl(2)); kqueue's NOTE_EXIT has its place here.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from lib.supervisor import tree
from lib.supervisor.identity import OURS, Identity

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3)."""

RESERVE = 16
"""Descriptors that are not spent on children: to hear a command, to look at the process table, to write."""

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2), linux/prctl.h: orphans below us become our children instead of init's."""


class Exit(NamedTuple):
    """How a process ended: by itself with `code`, or by `signal` (0 when by itself).

    Of a process that is not our child (an adopted one) the end is seen, but how it ended is not `known`.
    """

    code: int
    signal: int = 0
    known: bool = True

    @property
    def succeeded(self) -> bool:
        """Whether it ended by itself with code 0."""
        return self.known and self.code == 0 and self.signal == 0

    def __str__(self) -> str:
        """For a message: `exit code 1`, `killed by SIGKILL`."""
        if not self.known:
            return "ended, its exit status is unknown (it was adopted)"
        if not self.signal:
            return f"exit code {self.code}"
        with suppress(ValueError):
            return f"killed by {signal.Signals(self.signal).name}"
        return f"killed by signal {self.signal}"


class Child:
    """A process that we started, or took over from a supervisor that died; the leader of its own session."""

    def __init__(self, pid: int, ended: Callable[[Exit], None], children: Children) -> None:
        """Raises: OSError when it is gone, or too few descriptors are left."""
        self.pid = pid
        self.kill_group = True
        """Whether its end takes its process group along; a graceful stop gives the others their time."""
        self._ended = ended
        self._children = children
        self._handle = os.pidfd_open(pid)
        try:
            if self._handle >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVE:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            line = tree.entry(pid)
            if line is None:
                raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        except OSError:
            os.close(self._handle)
            raise
        self.started = line.started
        """Its start in clock ticks since boot; with the pid, its identity."""
        asyncio.get_running_loop().add_reader(self._handle, self.collect)

    def collect(self) -> None:
        """Take the exit when there is one; what is left in its group is killed before the pid is freed."""
        if self._handle < 0:
            return
        try:
            found = os.waitid(os.P_PIDFD, self._handle, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return
            by_signal = found.si_code != os.CLD_EXITED
            how = Exit(-1, found.si_status) if by_signal else Exit(found.si_status)
        except ChildProcessError:
            # Adopted: the pidfd wakes us at its end all the same. If its group is empty, its number is free
            # by now, and another may have it.
            how = Exit(-1, known=False)
            self.kill_group = self.kill_group and not _is_taken(self.pid)
        # The zombie still holds its process group's number, so this cannot hit a stranger.
        if self.kill_group:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self._handle, os.WEXITED | os.WNOHANG)
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        self._handle = -1
        self._children.forget(self.pid)
        self._ended(how)

    def let_go(self) -> None:
        """Hear of its end no more; it lives on."""
        if self._handle >= 0:
            asyncio.get_running_loop().remove_reader(self._handle)
            os.close(self._handle)
            self._handle = -1


class Children:
    """All children of this process: those that we started, and orphans that fell to us, which it reaps."""

    def __init__(self, open_files: int = 0) -> None:
        """`open_files` is the soft limit that each child gets; 0: as it is."""
        self._known: dict[int, Child] = {}
        self._open_files = open_files

    def __contains__(self, pid: object) -> bool:
        return pid in self._known

    def adopt_orphans(self) -> None:
        """Become the subreaper, and reap whatever ends without having been started by us."""
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def start(
        self,
        argv: tuple[str, ...],
        ended: Callable[[Exit], None],
        *,
        cwd: str,
        env: Mapping[str, str],
        stdout: int,
        stderr: int,
        umask: int = -1,
        who: Identity = OURS,
        listen: Sequence[int] = (),
        gate: int = -1,
    ) -> Child:
        """Start `argv` in a session of its own with only the three standard streams open, and the sockets
        `listen` from descriptor 3 on (sd_listen_fds(3)). With the pipe `gate` it waits for a line from there.
        What its output goes to becomes `who`'s, so that it can open /dev/stdout anew.

        Raises: OSError, with the name of what is missing in `filename`.
        """
        command = [*_TELL_PID, *argv] if listen else argv
        for stream in {stdout, stderr}:
            who.give(stream)
        with _standing_at_three(listen) as handed:
            process = subprocess.Popen(
                [*_AT_THE_GATE, *command] if gate >= 0 else command,
                stdin=gate if gate >= 0 else subprocess.DEVNULL, stdout=stdout,
                stderr=stderr, cwd=cwd, env={**env, "LISTEN_FDS": str(len(listen))} if listen else env,
                start_new_session=True, umask=umask, pass_fds=handed, user=who.user,
                group=who.group, extra_groups=who.groups,
            )  # fmt: skip
        try:
            child = self.adopt(process.pid, ended)
        except OSError:
            # No descriptor left to watch it with: an unwatched child is worse than none.
            process.kill()
            process.wait()
            raise
        if self._open_files:
            # From outside and not before the exec, which would cost a slow fork for each start.
            hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)[1]
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (self._open_files, hard))
        # We wait by pidfd; without a return code Popen would try to wait as well when it is deleted.
        process.returncode = 0
        return child

    def adopt(self, pid: int, ended: Callable[[Exit], None]) -> Child:
        """Watch the living process `pid`, whoever started it.

        Raises: OSError when it is gone, or no descriptor is left.
        """
        child = self._known[pid] = Child(pid, ended, self)
        return child

    def let_go(self) -> None:
        """Leave all children to another supervisor."""
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)
        for child in self._known.values():
            child.let_go()

    def forget(self, pid: int) -> None:
        """Drop a child whose exit was taken."""
        self._known.pop(pid, None)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if child := self._known.get(found.si_pid):
                    child.collect()
                else:
                    os.waitpid(found.si_pid, os.WNOHANG)


def _is_taken(pid: int) -> bool:
    """Whether any process has the number `pid`; needs no descriptor."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


_AT_THE_GATE = ("/bin/sh", "-c", 'read -r _ || exit 126; exec "$0" "$@" </dev/null')
"""A child that is to be limited first."""

_TELL_PID = ("/bin/sh", "-c", 'LISTEN_PID=$$ exec "$0" "$@"')
"""LISTEN_PID must be the child's pid, which is known only in the child."""


@contextmanager
def _standing_at_three(handles: Sequence[int]) -> Iterator[range]:
    """Let copies of `handles` stand from descriptor 3 on for a moment, as a child will find them there.

    What we have open there ourselves steps aside; nothing of ours runs in between.
    """
    places = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + len(handles))
    # Copies first: one of the handles may itself stand where another is to go.
    copies = [fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, 64) for handle in handles]
    aside: dict[int, int] = {}
    try:
        for place, copy in zip(places, copies, strict=True):
            with suppress(OSError):
                aside[place] = fcntl.fcntl(place, fcntl.F_DUPFD_CLOEXEC, 64)
            os.dup2(copy, place)
        yield places
    finally:
        for place in places:
            if place in aside:
                os.dup2(aside[place], place, inheritable=False)
                os.close(aside[place])
            else:
                with suppress(OSError):
                    os.close(place)
        for copy in copies:
            os.close(copy)


async def run_command(
    children: Children,
    argv: tuple[str, ...],
    *,
    cwd: str,
    env: Mapping[str, str],
    timeout: float,
    output: int,
    umask: int = -1,
    who: Identity = OURS,
) -> Exit:
    """Run a short command to its end, or kill it after `timeout` seconds (then it ended by SIGKILL).

    `output` is a file descriptor that gets both its streams.

    Raises: OSError when it cannot be started.
    """
    done: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    def ended(how: Exit) -> None:
        if not done.done():
            done.set_result(how)

    child = children.start(argv, ended, cwd=cwd, env=env, stdout=output, stderr=output, umask=umask, who=who)
    try:
        # Not wait_for, which before Python 3.12 may swallow a cancellation: a start that was taken back
        # right when its check ended would go on.
        async with asyncio.timeout(timeout):
            return await asyncio.shield(done)
    except (TimeoutError, asyncio.CancelledError) as error:
        # Once it has ended its number may be another's.
        if not done.done():
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        if isinstance(error, asyncio.CancelledError):
            raise
        return await done
