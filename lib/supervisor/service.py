"""One running service: its processes together, and what others may say of it."""

from __future__ import annotations

from typing import Any

from lib.supervisor.output import ServiceLog
from lib.supervisor.process import Changed, Process
from lib.supervisor.spec import Condition, ProcessSpec, ServiceSpec
from lib.supervisor.states import ALIVE
from lib.supervisor.surroundings import Surroundings

WORST_FIRST = (
    "gave-up", "failed", "backoff", "waiting", "starting", "unready", "stopping", "stopped", "scheduled",
    "ready", "completed",
)  # fmt: skip
"""A service is in the state of its worst process."""

DONE = ("ready", "completed", "scheduled")
"""Where a start wants a process to be."""


class RunningService:
    """The processes of one service. `wanted` is what was last commanded."""

    def __init__(self, spec: ServiceSpec, log: ServiceLog, around: Surroundings, changed: Changed) -> None:
        self.spec = spec
        self.log = log
        self.wanted = False
        self.incoming: list[Process] = []
        """Processes that are not ready to be counted in, in a rolling replacement."""
        self.outgoing: list[Process] = []
        """Processes that others have replaced and that are ending."""
        self._around = around
        self._changed = changed
        self.processes = [self.make(process, spec) for process in spec.processes]

    def make(self, process: ProcessSpec, spec: ServiceSpec) -> Process:
        """A new process of this service as `spec` has it, stopped, and not yet among `processes`."""
        return Process(process, spec, self.log, self._around, self._changed)

    @property
    def everyone(self) -> list[Process]:
        """The processes, and those that come and go."""
        return [*self.processes, *self.incoming, *self.outgoing]

    def numbered(self, number: int) -> Process | None:
        """The process of that number."""
        return next((process for process in self.processes if process.spec.number == number), None)

    def change_spec(self, spec: ServiceSpec) -> None:
        """Take over what of `spec` needs no new process."""
        self.spec = spec
        self.processes.sort(key=lambda process: process.spec.number)
        for process in self.processes:
            process.change_service(spec)

    @property
    def state(self) -> str:
        """The state of the process that is worst off; a service without processes has completed."""
        states = {process.state for process in self.processes}
        return next((state for state in WORST_FIRST if state in states), "completed")

    @property
    def running(self) -> bool:
        """Whether any of its processes lives."""
        return any(process.state in ALIVE for process in self.everyone)

    @property
    def done(self) -> bool:
        """Whether it is where a start wants it: every process ready, or completed."""
        return all(process.state in DONE for process in self.processes)

    def arm(self, processes: list[Process], *, again: bool = True) -> None:
        """Let each of `processes` that does not run wait for its turn; without `again` no completed one."""
        self.wanted = True
        idle = {"stopped", "failed", "gave-up", *(("completed",) if again else ())}
        for process in processes:
            if process.state in idle:
                process.arm()

    def arm_stopped(self, processes: list[Process]) -> None:
        """The same for those that were still stopping when they were to start."""
        for process in processes:
            if self.wanted and process.state == "stopped":
                process.arm()

    def meets(self, condition: Condition) -> bool:
        """Whether whatever waits for `condition` of this service may go on."""
        states = {process.state for process in self.processes}
        if condition == "started":
            return states <= {"starting", "ready", "unready", "completed", "scheduled"}
        if condition in ("ready", "healthy"):
            return states <= {"ready", "completed", "scheduled"}
        if condition == "completed":
            return states <= {"completed", "failed"}
        return states <= {"completed"}

    def describe(self, waits_for: list[str]) -> dict[str, Any]:
        """Its entry in `status`."""
        processes = [
            process.describe(waits_for if process.state == "waiting" else []) for process in self.everyone
        ]
        facts = [(process.spec.name, process.facts) for process in self.processes if process.facts]
        probe = "; ".join(f"{name}: {each}" if len(facts) > 1 else each for name, each in facts)
        reason = next((process.reason for process in self.processes if process.state == self.state), "")
        return {
            "name": self.spec.name, "kind": self.spec.kind, "state": self.state, "wanted": self.wanted,
            "reason": reason or ("waits for " + ", ".join(waits_for) if waits_for else ""),
            "restarts": sum(process.restarts for process in self.processes), "schedule": self.spec.schedule,
            "probe": probe, "dropped_lines": self.log.dropped, "processes": processes,
        }  # fmt: skip


def failed(process: Process) -> bool:
    """Whether a process will not become ready by itself."""
    return process.state in ("failed", "gave-up") or process.overdue
