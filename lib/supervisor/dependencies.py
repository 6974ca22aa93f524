"""Who waits for whom among running services: asked anew each time, from their states now."""

from __future__ import annotations

from collections.abc import Mapping

from lib.errors import NotReadyError
from lib.supervisor.process import Process
from lib.supervisor.service import DONE, RunningService, failed


class Dependencies:
    """The dependencies of `services`, which may change under it."""

    def __init__(self, services: Mapping[str, RunningService], instance: str) -> None:
        """`instance` is the name that hints give."""
        self.services = services
        self._instance = instance

    def needs(self, service: RunningService) -> list[RunningService]:
        """What `service` depends on directly."""
        return [self.services[name] for name in service.spec.depends_on if name in self.services]

    def with_needed(self, chosen: list[RunningService]) -> list[RunningService]:
        """`chosen` and whatever they depend on, in the order of the plan."""
        found, todo = set(chosen), list(chosen)
        while todo:
            needed = set(self.needs(todo.pop())) - found
            found |= needed
            todo += needed
        return [service for service in self.services.values() if service in found]

    def blockers(self, service: RunningService) -> list[str]:
        """What a service that waits still waits for, as `redis (starting)`."""
        if not any(process.state == "waiting" for process in service.processes):
            return []
        return [
            f"{name} ({self.services[name].state})"
            for name, condition in service.spec.depends_on.items()
            if name in self.services and not self.services[name].meets(condition)
        ]

    def up(self, service: RunningService, processes: list[Process] | None = None) -> bool:
        """Whether `processes` (default: all) of a service are where a start wants them."""
        some = service.processes if processes is None else processes
        return all(process.state in DONE for process in some) or self._may_fail(service)

    def check(self, service: RunningService, processes: list[Process]) -> None:
        """Raises: NotReadyError when a start of `processes` cannot succeed any more."""
        name = service.spec.name
        if not service.wanted:
            return
        failure = next((process for process in processes if failed(process)), None)
        if failure and not self._may_fail(service):
            raise NotReadyError(
                f"{failure.spec.name} did not become ready: {failure.reason}",
                f"ampzero logs {self._instance} {name}", name,
            )  # fmt: skip
        stopped = [other.spec.name for other in self.needs(service) if not other.wanted]
        if stopped and self.blockers(service):
            raise NotReadyError(f"{name} waits for {stopped[0]}, which was stopped", "start both", name)

    def _may_fail(self, service: RunningService) -> bool:
        """Whether it ended badly, and all that depend on it wait for its end, whatever it is."""
        name = service.spec.name
        conditions = [
            other.spec.depends_on[name] for other in self.services.values() if name in other.spec.depends_on
        ]
        ended = all(process.state in ("completed", "failed") for process in service.processes)
        return ended and bool(conditions) and all(condition == "completed" for condition in conditions)
