"""The supervisor: all services of one plan, started in order, watched, and ended in reverse order.

Owns the order and the commands. How one process lives is process.py's, how it dies by command ending.py's,
how one takes another's place rolling.py's, and how the plan itself changes updating.py's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from lib.contact import report
from lib.errors import NotReadyError, UsageError
from lib.logs.record import stamp
from lib.supervisor import adoption, ending, notify, tree
from lib.supervisor.child import Children
from lib.supervisor.dependencies import Dependencies
from lib.supervisor.environment import clean_environment
from lib.supervisor.journal import Journal, replay
from lib.supervisor.launch import Launch
from lib.supervisor.listeners import Listeners
from lib.supervisor.output import Listener, ServiceLog
from lib.supervisor.process import Process
from lib.supervisor.renewer import Renewer
from lib.supervisor.service import RunningService
from lib.supervisor.spec import Plan, ServiceSpec
from lib.supervisor.surroundings import Surroundings
from lib.supervisor.sweeper import Sweeper
from lib.supervisor.tidier import Tidier

SOCKETS = ("control", "events", "circus", "supervisor")
"""The names that `status` gives to the sockets of lib/control."""

ENDED = ("completed", "failed", "gave-up")
"""States of a process that was wanted, and has ended for good."""

Publish = Callable[[str, dict[str, Any]], None]
"""Gets an event's topic and its body."""

Selection = dict[RunningService, list[Process]]
"""What a command is about: services, and which of their processes."""


class Supervisor:
    """Runs one plan. All methods belong to the thread of the running loop."""

    def __init__(self, plan: Plan, *, publish: Publish, listener: Listener | None = None,
                 held: dict[int, tuple[int, ...]] | None = None, umask: int = -1,
                 open_files: int = 0, listening: Mapping[str, int] | None = None,
                 succeeds: bool = False) -> None:  # fmt: skip
        """`listener` gets every line of output; `held` maps a port to the open sockets that keep it.
        `listening` are the sockets of a supervisor whose place this one takes while that lives: `succeeds`.

        Raises: StorageError.
        """
        self.plan = plan
        self.since = time.time()
        self.stopping = False
        self.left = False
        """Whether all was left to another supervisor."""
        self._succeeds = succeeds
        self.children = Children(open_files)
        self.changed = asyncio.Event()
        """Set at every change of a process's state."""
        self.events = 0
        """How many events were published; each has its number, so that a slow reader sees what it missed."""
        self._publish = publish
        self._listener = listener
        self._sweeper = Sweeper(plan.var, self.children, self.processes)
        journal = Path(plan.var) / "state/journal"
        self._known = replay(journal)
        self.around = Surroundings(
            var=Path(plan.var), sockets=Path(plan.sockets), environment=clean_environment(os.environ, plan),
            children=self.children, journal=Journal(journal, self._known), orphaned=self._sweeper.soon,
            umask=umask, held=held or {}, listeners=Listeners(listening),
            predecessor="the supervisor before" if succeeds else "a supervisor that died",
            spawned={name: record.spawn for name, record in self._known.items()},
        )  # fmt: skip
        self.around.fifos.mkdir(mode=0o700, exist_ok=True)
        self._tidier = Tidier(plan, self.children, self.around.environment)
        self._renewer = Renewer(plan, self.children, self.outside_environment)
        self.log = self._open_log("supervisor")
        self.services: dict[str, RunningService] = {}
        for spec in plan.services:
            self.services[spec.name] = self.make(spec)
        self.dependencies = Dependencies(self.services, plan.name)
        self.adopted = 0
        """How many processes were taken over from a supervisor that died."""
        self._settled: set[Process] = set()
        """Those that had ended for good under it, or were stopped: the first start leaves them so."""
        self._was_ready = False

    def outside_environment(self) -> dict[str, str]:
        """The environment of a command that is not one of the instance's processes."""
        marks = ("AMPZERO_VAR", "AMPZERO_SPAWN")
        kept = {name: value for name, value in self.around.environment.items() if name not in marks}
        # Its files may name another root directory than the one that it was started with.
        return {**kept, "AMPZERO_ROOT": str(self.around.var.parent)}

    def make(self, spec: ServiceSpec) -> RunningService:
        """A service of this supervisor, all stopped.

        Raises: StorageError.
        """
        return RunningService(spec, self._open_log(spec.name), self.around, self._on_change)

    async def open(self) -> None:
        """Watch for orphans from now on, and take over what a supervisor that died left. Before any start."""
        self.children.adopt_orphans()
        again = await self._take_over() if self._known else []
        living = {process.child_name for process in self.processes() if process.child is not None}
        for fifo in self.around.fifos.iterdir():
            if fifo.stem not in living:
                fifo.unlink(missing_ok=True)
        notify.clear(self.around.sockets, living)
        for process in again:
            # As after any end that nobody commanded: what it needs may have been stopped since.
            process.arm()
            process.start()
        self._tidier.start(self.log)
        self._renewer.start(self.log)

    async def _take_over(self) -> list[Process]:
        """Take over what a supervisor that died left; the answer is what is to start at once."""
        self.adopted, self._settled, again = adoption.adopt(
            self.processes(), self._known, runs_on=self._succeeds
        )
        self._sweeper.adopted = self.adopted > 0
        for service in self.services.values():
            service.wanted = any(process.state in ENDED for process in service.processes)
        ended = await adoption.end_others(self.plan.var, self.processes(), self._known)
        before = "replaced" if self._succeeds else "dead"
        self.log.say(
            0, f"the supervisor before is {before}: {self.adopted} processes taken over, {ended} ended"
        )
        self._known = {}
        for service in self.services.values():
            if service.spec.reload and not self._succeeds:
                # Its files were written anew for this run; it may still have those before.
                taken = [each.pid for each in service.processes if each.pid and each.state == "ready"]
                tree.send(taken, signal.Signals[f"SIG{service.spec.reload}"])
        return again

    def change_logs(self, plan: Plan) -> None:
        """Keep logs as `plan` says from now on."""
        for log in (self.log, *(service.log for service in self.services.values())):
            log.change(plan.log_segment, plan.log_keep, plan.log_age)
        self._tidier.change(plan)
        self._renewer.change(plan)

    def processes(self) -> list[Process]:
        """All processes, those on their way in or out included."""
        return [process for service in self.services.values() for process in service.everyone]

    async def start(self, names: Iterable[str] = ()) -> None:
        """Start the named services or processes (all when none is named) and what they need; wait until up.

        What has completed runs again only when it is named, and what waits for its time runs now then.

        Raises: NotReadyError naming the first that failed; UsageError for an unknown name.
        """
        named = list(names)
        chosen = self.select(named)
        settled, self._settled = self._settled, set()
        starting = {
            service: [process for process in chosen.get(service, service.processes) if process not in settled]
            for service in self.dependencies.with_needed(list(chosen))
            if service in chosen or not service.done
        }
        for service, processes in starting.items():
            if processes or not service.processes:
                service.arm(processes, again=bool(named) and service in chosen)
                for process in processes if named and service in chosen else ():
                    process.start_early()
        self.advance()
        while True:
            self.changed.clear()
            if self.stopping or not any(service.wanted for service in chosen):
                raise NotReadyError("the start was ended by a stop", "start again when you want it to run")
            for service, processes in starting.items():
                self.dependencies.check(service, processes)
                service.arm_stopped(processes)
            self.advance()
            if all(
                self.dependencies.up(service, some) for service, some in starting.items() if service.wanted
            ):
                self._was_ready = True
                return
            await self.changed.wait()

    async def stop(
        self, names: Iterable[str] = (), *, at_once: bool = False, why: str = ending.COMMAND
    ) -> list[str]:
        """End the named services or processes (all when none is named), those that need others first.

        The answer names what could not be ended; empty is the proof that nothing is left.
        """
        chosen = self.select(names)
        for service, processes in chosen.items():
            if set(processes) >= set(service.processes):
                service.wanted = False
            for process in processes:
                process.disarm(why)
        self.changed.set()
        if at_once:
            survivors = await self._end(chosen, why, at_once=True)
            return survivors or await self._sweeper.end_abandoned()
        survivors = []
        left = dict(chosen)
        while left:
            needed = {name for service in left for name in service.spec.depends_on if service.running}
            wave = {service: left[service] for service in left if service.spec.name not in needed} or left
            survivors += await self._end(wave, why, at_once=False)
            left = {service: processes for service, processes in left.items() if service not in wave}
        # Of a service that crashed, its last child's tree may be no way to what the children before left.
        return survivors or await self._sweeper.end_abandoned()

    async def restart(self, names: Iterable[str] = ()) -> None:
        """Stop and start the named services or processes (all when none is named); returns when they are up.

        Raises: NotReadyError, UsageError.
        """
        named = list(names) or list(self.services)
        if survivors := await self.stop(named):
            raise NotReadyError(f"not restarted, for these did not end: {', '.join(survivors)}")
        if not self.stopping:
            await self.start(named)

    def signal(self, names: Iterable[str], number: signal.Signals) -> None:
        """Send a signal to the leaders of the named services or processes.

        Raises: UsageError.
        """
        for processes in self.select(names).values():
            tree.send([process.pid for process in processes if process.pid], number)

    async def shut_down(self, *, at_once: bool = False, why: str = ending.COMMAND) -> list[str]:
        """End everything, strays of no known service included; names what is left."""
        self.stopping = True
        self._tidier.stop()
        self._renewer.stop()
        survivors = await self.stop(at_once=at_once, why=why)
        left = await self._sweeper.end_everything()
        return left and (survivors or left)

    def status(self) -> dict[str, Any]:
        """Everything about the instance now, as `status --json` prints it."""
        sockets = self.plan.sockets
        services = [
            service.describe(self.dependencies.blockers(service)) for service in self.services.values()
        ]
        notes = dict(self.plan.notes)
        return {
            "name": self.plan.name, "directory": self.plan.directory, "var": self.plan.var,
            "state": self._state(), "since": stamp(self.since), "address": notes.get("address", ""),
            "release": notes.get("release", ""),
            **self._contact(notes),
            "certificate": self._renewer.describe(),
            "supervisor": {"pid": os.getpid(), "started": stamp(self.since)},
            "sockets": {face: f"{sockets}/{face}.sock" for face in SOCKETS},
            "events": self.events,
            # What a foreground run's terminal was too slow for (printer.py); the logs have it.
            "unprinted_lines": getattr(self._listener, "dropped", 0), "services": services,
        }  # fmt: skip

    def _contact(self, notes: dict[str, str]) -> dict[str, Any]:
        """The `hub` and `nat` of the status: what the contact process tells, or why there is none."""
        service = self.services.get("contact")
        if "told" not in notes or service is None:
            return {part: {"state": "off", "why": notes.get(part, "")} for part in ("hub", "nat")}
        return report.told(Path(notes["told"]), next((process.pid for process in service.processes), None))

    def last_will(self, launch: Launch) -> Launch:
        """What the supervisor that takes over is to run; `launch` is what this one was told."""
        around = self.around
        return msgspec.structs.replace(
            launch, plan=self.plan, held=dict(around.held), listening=around.listeners.handles(), progress=-1,
            succeeds=True,
        )  # fmt: skip

    def leave(self) -> None:
        """Leave everything as it is to another supervisor; from here on nothing is done but to close."""
        self.stopping = self.left = True
        self._tidier.stop()
        self._renewer.stop()
        self._sweeper.stop()
        self.log.say(0, "another supervisor takes over")
        for process in self.processes():
            process.let_go()
        self.children.let_go()
        self.around.journal.let_go()

    def close(self) -> None:
        """A clean end: close the sockets and the logs, and forget the journal; what was left stays."""
        for service in self.services.values():
            service.log.close()
        if not self.left:
            self.around.listeners.close_all()
            self.around.journal.close()
        self.log.close()

    def select(self, names: Iterable[str]) -> Selection:
        """The services and processes that `names` mean: `web`, `web.2`; everything for none.

        Raises: UsageError for an unknown name.
        """
        wanted = list(names)
        if not wanted:
            return {service: list(service.everyone) for service in self.services.values()}
        found: Selection = {}
        for name in wanted:
            service = self.services.get(name) or self.services.get(name.rpartition(".")[0])
            chosen = (
                [p for p in service.everyone if name in (service.spec.name, p.spec.name)] if service else []
            )
            if service is None or (not chosen and name != service.spec.name):
                known = f"there are: {', '.join(self.services)}"
                raise UsageError(f"no service {name!r} in {self.plan.name}", known)
            found[service] = [
                *found.get(service, []),
                *(p for p in chosen if p not in found.get(service, [])),
            ]
        return {service: found[service] for service in self.services.values() if service in found}

    def advance(self) -> None:
        """Start whatever waits and need not wait any longer."""
        for service in self.services.values():
            waiting = [
                process for process in service.processes if process.state == "waiting" and not process.busy
            ]
            if waiting and not self.stopping and not self.dependencies.blockers(service):
                for process in waiting:
                    process.start()

    def _open_log(self, name: str) -> ServiceLog:
        folder = Path(self.plan.var) / "logs" / name
        return ServiceLog(
            folder, self.plan.log_segment, self.plan.log_keep, self._listener, self.plan.log_age,
            self._tidier.rotated,
        )  # fmt: skip

    async def _end(self, chosen: Selection, why: str, *, at_once: bool) -> list[str]:
        processes = [process for some in chosen.values() for process in some]
        return await ending.end(processes, self.children, at_once=at_once, why=why)

    def _state(self) -> str:
        if self.stopping:
            return "stopping"
        if all(self.dependencies.up(service) for service in self.services.values() if service.wanted):
            return "ready" if all(service.wanted for service in self.services.values()) else "degraded"
        return "degraded" if self._was_ready else "starting"

    def _on_change(self, process: Process) -> None:
        self.events += 1
        self._publish(
            f"process.{process.spec.service}.{process.spec.number}",
            {
                "time": stamp(process.since), "service": process.spec.service, "number": process.spec.number,
                "state": process.state, "pid": process.pid, "reason": process.reason,
                "restarts": process.restarts, "event": self.events,
            },
        )  # fmt: skip
        self.changed.set()
        if process.state in ("starting", "ready", "completed", "failed", "gave-up", "scheduled"):
            asyncio.get_running_loop().call_soon(self.advance)
