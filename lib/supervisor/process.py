"""One supervised process: its state, its child, and what follows when the child ends by itself.

Ending one by command, with its whole tree, is lib/supervisor/ending.py's; when it is ready, readiness.py's.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.logs.record import stamp
from lib.supervisor import limits, notify, scarcity, tree
from lib.supervisor.child import FIRST_DESCRIPTOR, Child, Exit, run_command
from lib.supervisor.identity import Identity, identify
from lib.supervisor.journal import Record
from lib.supervisor.output import OutputPipe, ServiceLog
from lib.supervisor.policy import RestartPolicy
from lib.supervisor.readiness import Readiness
from lib.supervisor.spawn import reopen, spawn
from lib.supervisor.spec import ProcessSpec, ServiceSpec, digest
from lib.supervisor.states import State, check
from lib.supervisor.surroundings import Surroundings

if TYPE_CHECKING:
    from lib.supervisor.schedule import Timetable

ATTEMPTS = 3
"""How often a process that was started by command may end before it was ever ready."""

CHECK_TIMEOUT = 30.0
"""Seconds that a check before a start may take."""

CLOCK_LOOK = 30.0
"""Seconds after which a scheduled process looks at the clock again, which may have been set meanwhile."""

Changed = Callable[["Process"], None]


class Process:
    """A process of the plan and whatever is known about it now."""

    def __init__(
        self, spec: ProcessSpec, service: ServiceSpec, log: ServiceLog, around: Surroundings, changed: Changed
    ) -> None:
        """`changed` hears every change of state."""
        self.spec = spec
        self.service = service
        self.log = log
        self.state: State = "stopped"
        self.since = time.time()
        self.reason = ""
        self.restarts = 0
        self.spawns = 0
        """The number of the newest child, which is its mark."""
        self.child: Child | None = None
        self.session = 0
        """The newest child's session, which is its pid; kept after its end, for the hunt."""
        self.aside = False
        """Whether another stands in its place: the journal and the pid file are the other's then."""
        self.adopted = False
        """Whether the child was started by a supervisor that died."""
        self.overdue = False
        """Whether its probe's deadline passed without it being ready."""
        self.ended = asyncio.Event()
        """Set while there is no child."""
        self.ended.set()
        self._around = around
        self._changed = changed
        self._policy = RestartPolicy(service.restart, random.random)
        self._started = 0.0
        self._ticks = 0
        self._attempts: int | None = None
        self._doomed = ""
        self._timetable: Timetable | None = None
        self._last = ""
        """How the last run of a scheduled one ended."""
        self._pipes: list[OutputPipe] = []
        self._readiness: Readiness | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """Its pid while it lives."""
        return self.child.pid if self.child else None

    @property
    def facts(self) -> str:
        """What its probe last learnt of it, while it lives."""
        return self._readiness.facts if self._readiness and self.child else ""

    @property
    def busy(self) -> bool:
        """Whether a start of it is under way that has no child yet: its checks run."""
        return self.child is None and self._task is not None and not self._task.done()

    @property
    def mark(self) -> bytes:
        """The environment string that tells the newest child's tree from all others, other instances' too."""
        return f"AMPZERO_SPAWN={self._spawn_name}".encode()

    @property
    def child_name(self) -> str:
        """What the files of the newest child are called by."""
        return f"{self.spec.name}-{self.spawns}"

    @property
    def _spawn_name(self) -> str:
        return f"{self.spec.name}:{self.spawns}:{self._around.var}"

    @property
    def uptime(self) -> float | None:
        """Seconds since the child started; None while there is none."""
        return time.monotonic() - self._started if self.child else None

    def become(self, state: State, reason: str = "") -> None:
        """Change state, and tell whoever listens.

        Raises: ValueError for a change that the table does not have.
        """
        self.state = check(self.state, state)
        self.since = time.time()
        self.reason = reason
        if not self.aside:
            self._around.journal.write(self.record())
        if state != "waiting":
            pid = f" (pid {self.pid})" if self.pid and state in ("starting", "ready") else ""
            self.log.say(self.spec.number, f"{state}{pid}{': ' if reason else ''}{reason}")
        self._changed(self)

    def record(self) -> Record:
        """What must not be forgotten of it."""
        return Record(
            process=self.spec.name, state=self.state, since=self.since, pid=self.pid or 0,
            started=self._ticks, spawn=self.spawns, restarts=self.restarts, spec=digest(self.spec),
            reason=self.reason, last=self._last,
        )  # fmt: skip

    def arm(self) -> None:
        """Make it wait for its turn, with a clean record, as after a start by command."""
        self._policy.forget()
        self._attempts = 0
        self.overdue = False
        self.become("waiting")

    def disarm(self, reason: str = "stopped by command") -> None:
        """Take back a start that has no child yet."""
        if self.child is None:
            self._cancel()
            if self.state != "stopped":
                self.become("stopped", reason)

    def start(self) -> None:
        """Start it now, or, when it has a schedule, at its next time."""
        if self.service.schedule and self.state != "scheduled":
            self._schedule("")
        elif self.spec.check:
            self._run(self._check_and_spawn())
        else:
            self._spawn()

    def start_early(self) -> None:
        """Run it now if it waits for its time; its schedule goes on after that."""
        if self.state == "scheduled" and self.child is None and not self.busy:
            self._cancel()
            self.start()

    def succeed(self, old: Process) -> None:
        """Take the place of `old`: its counters go on."""
        self.spawns, self.restarts = old.spawns, old.restarts

    def step_in(self) -> None:
        """Stand in the journal and the pid file from now on."""
        self.aside = False
        self._around.journal.write(self.record())
        self._write_pid()

    def resume(self, known: Record) -> None:
        """Be what it was under a supervisor that died."""
        if known.state == "stopped":
            self.reason = known.reason
        else:
            self.become("waiting")
            self.become(known.state, known.reason)

    def change_service(self, service: ServiceSpec) -> None:
        """Take over what of a service needs no new child: policies, the stop, the schedule."""
        rescheduled = self.state == "scheduled" and self.service.schedule != service.schedule
        self.service = service
        self._policy.spec = service.restart
        if rescheduled:
            self._cancel()
            if service.schedule:
                self._schedule(self.reason.partition("; ")[2])
            else:
                self.start()

    def adopt(self, known: Record) -> bool:
        """Take the child over that `known` tells of; False when it does not live any more.

        Without a child only the counters are taken over.
        """
        self.spawns, self.restarts, self._last = known.spawn, known.restarts, known.last
        try:
            line = tree.entry(known.pid) if known.pid else None
            if line is None or line.started != known.started or line.state in "ZX":
                return False
            running_for = tree.age(line)
            self.child = self._around.children.adopt(known.pid, self._on_end)
            self._readiness = self._make_readiness(identify(self.spec.limits))
            self._pipes = reopen(self.spec, self.spawns, self._around.fifos, self.log, self._readiness.watch)
        except OSError:
            return False
        self.adopted = True
        self.session, self._ticks = known.pid, known.started
        self._started = time.monotonic() - running_for
        for descriptor, address in enumerate(self.spec.listen, FIRST_DESCRIPTOR):
            self._around.listeners.take_back(address, known.pid, descriptor)
        self.ended.clear()
        self.become("starting", "adopted")
        if known.state in ("ready", "unready") or self.spec.ready is None:
            self.become("ready", f"adopted from {self._around.predecessor}")
            self._run(self._readiness.keep(self.spec, self._unready, self._ready_again, self._dead))
        else:
            self._run(self._become_ready(self._readiness))
        return True

    def let_go(self) -> None:
        """Leave its child to another supervisor: nothing is done about it here any more."""
        self._cancel()
        for pipe in self._pipes:
            pipe.let_go()

    def leaving(self) -> None:
        """From here on its end is wanted: nothing restarts it, and its group keeps its time."""
        self._cancel()
        if self.child is not None:
            self.child.kill_group = False
            self.become("stopping")

    def gone(self, reason: str) -> None:
        """Its whole tree is gone after `leaving`."""
        # A leader that ended before its children left its cgroup, which was not empty then.
        limits.clear(self.spec.limits, self._group)
        self._close_output()
        self.become("stopped", reason)

    async def _check_and_spawn(self) -> None:
        for argv in self.spec.check:
            try:
                how = await self._run_beside(argv, CHECK_TIMEOUT)
            except OSError as error:
                self._failed_to_start(f"cannot run {argv[0]}: {scarcity.words(error)}", error)
                return
            if not how.succeeded:
                self._failed_to_start(f"the check `{' '.join(argv)}` failed: {how}")
                return
        self._spawn()

    def _spawn(self) -> None:
        self.spawns = self._around.next_spawn(self.spec.name)
        self._doomed, self.adopted = "", False
        spec, around = self.spec, self._around
        around.release(spec.ports)
        for path in spec.stale:
            Path(path).unlink(missing_ok=True)
        try:
            who = identify(spec.limits)
            self._readiness = self._make_readiness(who)
            env = {**self._environment(who), **self._readiness.environment}
            self.child, self._pipes = spawn(
                spec, env, self.spawns, children=around.children, listeners=around.listeners,
                folder=around.fifos, log=self.log, watch=self._readiness.watch, umask=around.umask,
                ended=self._on_end, cgroup=self._group, who=who,
            )  # fmt: skip
        except OSError as error:
            if self._readiness is not None:
                self._readiness.close()
            what = "its folder" if error.filename == spec.cwd else "cannot start"
            what = "cannot listen on" if error.filename in spec.listen else what
            self._failed_to_start(f"{what} {error.filename or spec.argv[0]}: {scarcity.words(error)}", error)
            return
        self._started = time.monotonic()
        self.session = self.child.pid
        self._ticks = self.child.started
        self.ended.clear()
        self._write_pid()
        self.become("starting")
        self._run(self._become_ready(self._readiness))

    def _make_readiness(self, who: Identity) -> Readiness:
        """Raises: OSError."""
        path = notify.place(self._around.sockets, self.child_name, who)
        return Readiness(self.spec.ready, path, self._run_beside, who)

    @property
    def _group(self) -> str:
        """The cgroup of the newest child, if it has one: a later supervisor finds it by the same name."""
        return f"{hashlib.sha256(os.fsencode(self._around.var)).hexdigest()[:12]}-{self.child_name}"

    def _environment(self, who: Identity) -> dict[str, str]:
        own = {"AMPZERO_SERVICE": self.spec.service, "AMPZERO_PROCESS": self.spec.name,
               "AMPZERO_SPAWN": self._spawn_name}  # fmt: skip
        if self.spec.listen:
            # The port, or the file's name: a colon parts the names.
            names = (a.rpartition("/" if a.startswith("unix:") else ":")[2] for a in self.spec.listen)
            own["LISTEN_FDNAMES"] = ":".join(names)
        return {**who.environment(self._around.environment), **self.spec.env, **own}

    async def _become_ready(self, readiness: Readiness) -> None:
        await readiness.wait(self._late)
        self._attempts = None
        self.overdue = False
        self.become("ready")
        await readiness.keep(self.spec, self._unready, self._ready_again, self._dead)

    async def _run_beside(self, argv: tuple[str, ...], timeout: float) -> Exit:
        """Run a short command in the process's own surroundings; what it prints goes to the log.

        Raises: OSError.
        """
        own = self.spec.limits
        who = identify(own)
        pipe = OutputPipe(self.log, self.spec.number, "err")
        try:
            return await run_command(
                self._around.children, argv, cwd=self.spec.cwd, env=self._environment(who), timeout=timeout,
                output=pipe.writer, umask=self._around.umask if own.umask < 0 else own.umask, who=who,
            )  # fmt: skip
        finally:
            pipe.started()
            pipe.close()

    def _late(self, reason: str) -> None:
        self.overdue = True
        self.reason = reason
        self.log.say(self.spec.number, reason)
        self._changed(self)

    def _unready(self, reason: str) -> None:
        self.become("unready", reason)

    def _ready_again(self) -> None:
        self.become("ready")

    def _dead(self, reason: str) -> None:
        """Its liveness probe failed: end it as its stop says, and let its restart policy follow."""
        self._doomed = f"not alive: {reason}"
        self.log.say(self.spec.number, self._doomed)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.session, signal.Signals[f"SIG{self.service.stop.signal}"])

        def kill() -> None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.session, signal.SIGKILL)

        self._timer = asyncio.get_running_loop().call_later(self.service.stop.timeout, kill)

    def _on_end(self, how: Exit) -> None:
        ran_for = time.monotonic() - self._started
        self.child = None
        if not self.aside:
            self._around.pid_file(self.spec.name).unlink(missing_ok=True)
        if how.signal == signal.SIGKILL or not how.known:
            self._doomed = self._doomed or limits.why_killed(self.spec.limits, self._group)
        limits.clear(self.spec.limits, self._group)
        self._cancel()
        if self._readiness is not None:
            self._readiness.close()
        self.ended.set()
        if self.state == "stopping":
            return
        self._around.orphaned()
        if self.service.schedule:
            self._schedule(f"last: {how}")
        else:
            self._failed(self._doomed or str(how), ran_for, how.succeeded and not self._doomed)

    def _failed_to_start(self, reason: str, error: OSError | None = None) -> None:
        if self._attempts is not None and not self.service.schedule:
            self.become("failed", reason)
        elif self.service.schedule:
            self._schedule(f"last: {reason}")
        elif error is not None and error.errno in scarcity.FULL:
            self.become("backoff", reason)
            self._timer = asyncio.get_running_loop().call_later(self._policy.postpone(), self.start)
        else:
            self._failed(reason, 0.0, succeeded=False)

    def _failed(self, how: str, ran_for: float, succeeded: bool) -> None:
        if self._attempts is not None and self.service.restart.policy != "never":
            self._attempts += 1
            if self._attempts >= ATTEMPTS and not (succeeded and self.service.restart.policy == "on-failure"):
                self.become("gave-up", f"ended {ATTEMPTS} times before it was ready; last: {how}")
                return
        decision = self._policy.decide(time.monotonic(), ran_for, succeeded, how)
        if decision.action == "restart":
            self.restarts += 1
            self.become("backoff", decision.reason)
            # Also without a delay: a start that fails at once would call itself again and again from here.
            self._timer = asyncio.get_running_loop().call_later(decision.delay, self.start)
        else:
            after: dict[str, State] = {"complete": "completed", "fail": "failed", "give-up": "gave-up"}
            self.become(after[decision.action], decision.reason)

    def _schedule(self, last: str) -> None:
        # Loaded only by those who schedule something.
        from lib.supervisor.schedule import Timetable

        self._last = last = last or self._last
        self._timetable = self._timetable or Timetable()
        due = self._timetable.plan(self.service.schedule)
        self.become("scheduled", f"next {due:%Y-%m-%d %H:%M}{'; ' if last else ''}{last}")
        self._wait_for_turn(self._timetable)

    def _wait_for_turn(self, timetable: Timetable) -> None:
        if timetable.was_set_back():
            self._schedule("")
        elif (left := timetable.left()) <= 0:
            self.start()
        else:
            # The clock is asked again at the end, too: a timer may be early, and it would run twice.
            self._timer = asyncio.get_running_loop().call_later(
                min(left, CLOCK_LOOK), lambda: self._wait_for_turn(timetable)
            )

    def _write_pid(self) -> None:
        # A full disk must not keep a service from running; the file only serves those who look.
        with suppress(OSError):
            if not self.aside:
                self._around.pid_file(self.spec.name).write_text(f"{self.session}\n")

    def _close_output(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        self._pipes = []

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.get_running_loop().create_task(work)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            self._task = None

    def describe(self, waits_for: list[str]) -> dict[str, Any]:
        """Its line in `status`."""
        seen = self._readiness.seen if self._readiness and self.state == "starting" else ""
        return {
            "name": self.spec.name, "number": self.spec.number, "pid": self.pid, "state": self.state,
            "since": stamp(self.since), "uptime": self.uptime, "restarts": self.restarts,
            "reason": self.reason or seen, "adopted": self.adopted, "ports": list(self.spec.ports),
            "waits_for": waits_for, "probe": self.facts,
        }  # fmt: skip
