"""supervisor's methods that change processes: start, stop and signal one, a group, or all of them.

One that names a group or all gives a struct for each process, with its own status. Owns no socket and no
table of methods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from lib.control import supervisor_view
from lib.control.supervisor_values import signal_name, text
from lib.control.supervisor_view import (
    ABNORMAL_TERMINATION,
    ALREADY_STARTED,
    FAILED,
    NOT_RUNNING,
    ON,
    SPAWN_ERROR,
    STOPPING,
    SUCCESS,
    Fault,
    Struct,
)  # fmt: skip
from lib.errors import AmpzeroError

Status = Callable[[], Struct]
Handle = Callable[[str, dict[str, Any]], Awaitable[Any]]


class ProcessMethods:
    """They run against one running supervisor of ours."""

    def __init__(self, status: Status, handle: Handle) -> None:
        self._status = status
        self._handle = handle
        self._background: set[asyncio.Task[Any]] = set()

    async def start_process(self, name: object, wait: object = True) -> Any:
        """Start a process, or a whole group."""
        service, process = supervisor_view.find(self._status(), text(name))
        if process is None:
            return await self.start_group(service["name"], wait)
        if supervisor_view.state(process) in ON:
            raise Fault(ALREADY_STARTED, f"ALREADY_STARTED: {name}")
        await self.start_targets([supervisor_view.target(service, process)], wait)
        return True

    async def start_group(self, name: object, wait: object = True) -> list[Struct]:
        """Start the processes of a group that do not run."""
        return await self._start_some([self.group(name)], wait)

    async def start_all(self, wait: object = True) -> list[Struct]:
        """Start whatever does not run."""
        return await self._start_some(self._status()["services"], wait)

    async def stop_process(self, name: object, wait: object = True) -> Any:
        """Stop a process, or a whole group."""
        service, process = supervisor_view.find(self._status(), text(name))
        if process is None:
            return await self.stop_group(service["name"], wait)
        if supervisor_view.state(process) not in (*ON, STOPPING):
            raise Fault(NOT_RUNNING, f"NOT_RUNNING: {name}")
        await self._stop([supervisor_view.target(service, process)], wait)
        return True

    async def stop_group(self, name: object, wait: object = True) -> list[Struct]:
        """Stop the processes of a group."""
        return await self._stop_some([self.group(name)], wait)

    async def stop_all(self, wait: object = True) -> list[Struct]:
        """Stop all processes; the supervisor stays."""
        return await self._stop_some(self._status()["services"], wait)

    async def signal_process(self, name: object, number: object) -> Any:
        """Send a signal to a process, or to a whole group."""
        service, process = supervisor_view.find(self._status(), text(name))
        if process is None:
            return await self.signal_group(service["name"], number)
        if not process["pid"]:
            raise Fault(NOT_RUNNING, f"NOT_RUNNING: {name}")
        services = [supervisor_view.target(service, process)]
        await self._handle("signal", {"services": services, "signal": signal_name(number)})
        return True

    async def signal_group(self, name: object, number: object) -> list[Struct]:
        """Send a signal to the processes of a group."""
        return await self._signal_some([self.group(name)], number)

    async def signal_all(self, number: object) -> list[Struct]:
        """Send a signal to all processes."""
        return await self._signal_some(self._status()["services"], number)

    def group(self, name: object) -> Struct:
        """The service that is the group `name`.

        Raises: Fault BAD_NAME.
        """
        service, _ = supervisor_view.find(self._status(), f"{text(name)}:*")
        return service

    def later(self, work: Awaitable[Any]) -> None:
        """Do it without anybody waiting; when it fails, status shows why."""

        async def run() -> None:
            try:
                await work
            except AmpzeroError:
                return

        task = asyncio.get_running_loop().create_task(run())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def start_targets(self, names: list[str], wait: object) -> None:
        """Start what our commands call so.

        Raises: Fault.
        """
        work = self._handle("start", {"services": names})
        if not wait:
            self.later(work)
            return
        try:
            await work
        except AmpzeroError as error:
            code = SPAWN_ERROR if "cannot start" in error.message else ABNORMAL_TERMINATION
            raise Fault(code, error.message) from None

    async def _stop(self, names: list[str], wait: object) -> None:
        work = self._handle("stop", {"services": names})
        if not wait:
            self.later(work)
            return
        result = await work
        if isinstance(result, dict) and result.get("survivors"):
            raise Fault(FAILED, f"FAILED: left: {', '.join(result['survivors'])}")

    async def _start_some(self, services: list[Struct], wait: object) -> list[Struct]:
        idle = _pick(services, lambda process: supervisor_view.state(process) not in ON)
        code, words = SUCCESS, "OK"
        try:
            if idle:
                await self.start_targets(_targets(services, idle), wait)
        except Fault as fault:
            code, words = fault.code, fault.text
        return self._results(idle, "failed", code, words)

    async def _stop_some(self, services: list[Struct], wait: object) -> list[Struct]:
        on = _pick(services, lambda process: supervisor_view.state(process) in (*ON, STOPPING))
        code, words = SUCCESS, "OK"
        try:
            if on:
                await self._stop(_targets(services, on), wait)
        except Fault as fault:
            code, words = fault.code, fault.text
        return self._results(on, "alive", code, words)

    async def _signal_some(self, services: list[Struct], number: object) -> list[Struct]:
        alive = _pick(services, lambda process: bool(process["pid"]))
        if alive:
            name = signal_name(number)
            await self._handle("signal", {"services": _targets(services, alive), "signal": name})
        return self._results(alive, "", SUCCESS, "OK")

    def _results(self, chosen: dict[str, Struct], bad: str, code: int, words: str) -> list[Struct]:
        """A struct for each process. After a failure those that are in order all the same have succeeded."""
        now = {
            process["name"]: process
            for service in self._status()["services"]
            for process in service["processes"]
        }
        results = []
        for name, service in chosen.items():
            process = now.get(name)
            if bad == "alive":
                failed = process is not None and process["pid"] is not None
            else:
                failed = process is None or process["state"] not in ("ready", "completed", "scheduled")
            status = code if code != SUCCESS and failed else SUCCESS
            short = service["name"] if len(service["processes"]) == 1 else name
            results.append({"name": short, "group": service["name"], "status": status,
                            "description": words if status != SUCCESS else "OK"})  # fmt: skip
        return results


def _pick(services: list[Struct], wanted: Callable[[Struct], bool]) -> dict[str, Struct]:
    """The wanted processes' names, each with its service."""
    return {
        process["name"]: service
        for service in services
        for process in service["processes"]
        if wanted(process)
    }


def _targets(services: list[Struct], chosen: dict[str, Struct]) -> list[str]:
    """`chosen` for our commands: services where all their processes are chosen, else the processes."""
    names: list[str] = []
    for service in services:
        mine = [process["name"] for process in service["processes"] if process["name"] in chosen]
        names += [service["name"]] if len(mine) == len(service["processes"]) and mine else mine
    return names
