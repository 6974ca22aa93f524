"""supervisor's XML-RPC interface: what supervisorctl and its kin call, done with commands of ours.

The table at the end is all that can be called: no name from outside is looked up on an object, at any depth
(CVE-2017-11610). Meanings are supervisord.org/api.html's. Owns no socket: lib/control/supervisor.py does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from lib.control import logtext, supervisor_view
from lib.control.supervisor_processes import Handle, ProcessMethods, Status
from lib.control.supervisor_values import number, text
from lib.control.supervisor_view import (
    BAD_ARGUMENTS,
    BAD_NAME,
    CANT_REREAD,
    FAILED,
    INCORRECT_PARAMETERS,
    NO_FILE,
    ON,
    SHUTDOWN_STATE,
    SIGNATURE_UNSUPPORTED,
    UNKNOWN_METHOD,
    Fault,
    Struct,
)  # fmt: skip
from lib.errors import AmpzeroError
from lib.supervisor.spec import Plan

API_VERSION = "3.0"
SUPERVISOR_VERSION = "4.3.0"
"""The supervisor whose interface this is; its clients compare it."""
CALLS_MAX = 200
"""Calls of one multicall."""


class SupervisorRpc(ProcessMethods):
    """All methods, against one running supervisor of ours."""

    def __init__(self, plan: Callable[[], Plan], status: Status, handle: Handle) -> None:
        super().__init__(status, handle)
        self._plan = plan
        self._reading = asyncio.Lock()

    async def call(self, name: str, params: list[Any]) -> Any:
        """Run the method `name`.

        Raises: Fault.
        """
        method = METHODS.get(name)
        if method is None:
            raise Fault(UNKNOWN_METHOD, f"UNKNOWN_METHOD: {name}")
        if not method.least <= len(params) <= method.most:
            raise Fault(INCORRECT_PARAMETERS, "INCORRECT_PARAMETERS")
        try:
            return await method.run(self, *params)
        except AmpzeroError as error:
            raise Fault(FAILED, error.message) from None

    def source(self, name: object, stream: str) -> logtext.Source:
        """The output that a name means: `web:web.1`, and `out` or `err`.

        Raises: Fault.
        """
        service, process = supervisor_view.find(self._status(), text(name))
        return logtext.Source(
            Path(self._plan().var) / "logs", service["name"], process["name"] if process else "",
            frozenset({stream}),
        )  # fmt: skip

    def main_source(self) -> logtext.Source:
        """The supervisor's own log."""
        return logtext.Source(Path(self._plan().var) / "logs", "supervisor", "", frozenset())

    async def api_version(self) -> str:
        """The version of this interface."""
        return API_VERSION

    async def supervisor_version(self) -> str:
        """The version of supervisor that this interface is of."""
        return SUPERVISOR_VERSION

    async def identification(self) -> str:
        """The name of the instance."""
        return self._plan().name

    async def state(self) -> Struct:
        """Whether it runs or shuts down."""
        if self._status()["state"] == "stopping":
            return {"statecode": -1, "statename": "SHUTDOWN"}
        return {"statecode": 1, "statename": "RUNNING"}

    async def pid(self) -> int:
        """The pid of the supervisor."""
        pid: int = self._status()["supervisor"]["pid"]
        return pid

    async def shutdown(self) -> bool:
        """Stop everything and end."""
        if self._status()["state"] == "stopping":
            raise Fault(SHUTDOWN_STATE, "SHUTDOWN_STATE")
        self.later(self._handle("shutdown", {}))
        return True

    async def restart(self) -> bool:
        """Restart all services; the supervisor stays."""
        self.later(self._handle("restart", {"services": []}))
        return True

    async def process_info(self, name: object) -> Struct:
        """Everything about one process."""
        service, process = supervisor_view.find(self._status(), text(name))
        if process is None:
            raise Fault(BAD_NAME, f"BAD_NAME: {name}")
        return supervisor_view.info(service, process)

    async def all_process_info(self) -> list[Struct]:
        """Everything about all processes."""
        return [
            supervisor_view.info(service, process)
            for service in sorted(self._status()["services"], key=lambda each: str(each["name"]))
            for process in service["processes"]
        ]

    async def all_config_info(self) -> list[Struct]:
        """How the processes are configured."""
        return supervisor_view.config(self._plan(), self._status())

    async def reload_config(self) -> list[list[list[str]]]:
        """What a reload would change: added, changed and removed groups."""
        try:
            changes = await self._handle("reload", {"dry_run": True})
        except AmpzeroError as error:
            raise Fault(CANT_REREAD, f"CANT_REREAD: {error.message}") from None
        found: dict[str, list[str]] = {"add": [], "change": [], "remove": []}
        for change in changes:
            if not change["service"]:
                continue  # the instance's own, which supervisor's clients have no word for
            action = change["action"] if change["action"] in found else "change"
            found[action].append(change["service"])
        return [list(found.values())]

    async def add_group(self, name: object) -> bool:
        """Take over the configuration, all of it, and start this group."""
        await self._handle("reload", {})
        service = self.group(name)
        if not any(supervisor_view.state(process) in ON for process in service["processes"]):
            await self.start_targets([service["name"]], True)
        return True

    async def remove_group(self, name: object) -> bool:
        """Take over the configuration, all of it: what is no longer in it goes."""
        text(name)
        await self._handle("reload", {})
        return True

    async def read_main_log(self, offset: object, length: object) -> str:
        """Some of the supervisor's own log."""
        return await self._read(self.main_source(), offset, length)

    async def read_out(self, name: object, offset: object, length: object) -> str:
        """Some of what a process wrote to stdout: -N and 0 for its last N bytes."""
        return await self._read(self.source(name, "out"), offset, length)

    async def read_err(self, name: object, offset: object, length: object) -> str:
        """As readProcessStdoutLog, of stderr."""
        return await self._read(self.source(name, "err"), offset, length)

    async def tail_out(self, name: object, offset: object, length: object) -> list[Any]:
        """What a process wrote to stdout since an earlier call's offset, which counts lines here."""
        return await self._tail(self.source(name, "out"), offset, length)

    async def tail_err(self, name: object, offset: object, length: object) -> list[Any]:
        """As tailProcessStdoutLog, of stderr."""
        return await self._tail(self.source(name, "err"), offset, length)

    async def clear_logs(self, name: object) -> bool:
        """Refused: logs go by age and size, and belong to more readers than one."""
        supervisor_view.find(self._status(), text(name))
        raise Fault(FAILED, "FAILED: logs are not cleared, the oldest are deleted by themselves")

    async def send_stdin(self, name: object, chars: object) -> bool:
        """Refused: processes have no standard input."""
        raise Fault(NO_FILE, f"NO_FILE: {text(name)}")

    async def list_methods(self) -> list[str]:
        """The names of all methods."""
        return sorted(METHODS)

    async def method_help(self, name: object) -> str:
        """What a method does."""
        method = METHODS.get(text(name))
        if method is None:
            raise Fault(SIGNATURE_UNSUPPORTED, "SIGNATURE_UNSUPPORTED")
        return method.run.__doc__ or ""

    async def method_signature(self, name: object) -> list[str]:
        """Refused: the types are in supervisor's documentation."""
        raise Fault(SIGNATURE_UNSUPPORTED, "SIGNATURE_UNSUPPORTED")

    async def multicall(self, calls: object) -> list[Any]:
        """Several calls, one after the other."""
        if not isinstance(calls, list) or len(calls) > CALLS_MAX:
            raise Fault(INCORRECT_PARAMETERS, "INCORRECT_PARAMETERS")
        results: list[Any] = []
        for call in calls:
            try:
                results.append(await self._one_of_many(call))
            except Fault as error:
                results.append({"faultCode": error.code, "faultString": error.text})
        return results

    async def _one_of_many(self, call: object) -> Any:
        if not isinstance(call, dict):
            raise Fault(INCORRECT_PARAMETERS, "INCORRECT_PARAMETERS")
        name, params = call.get("methodName"), call.get("params", [])
        if not isinstance(name, str) or not isinstance(params, list) or name == "system.multicall":
            raise Fault(INCORRECT_PARAMETERS, "INCORRECT_PARAMETERS")
        return await self.call(name, params)

    async def _read(self, source: logtext.Source, offset: object, length: object) -> str:
        start, count = number(offset), number(length)
        if count < 0 or (start < 0 and count):
            raise Fault(BAD_ARGUMENTS, "BAD_ARGUMENTS")
        # One at a time: whoever asks for much does not take the processor from everybody.
        async with self._reading:
            if start < 0:
                found = await asyncio.to_thread(logtext.last, source, -start)
            else:
                found = await asyncio.to_thread(logtext.part, source, start, count)
        return found.decode(errors="replace")

    async def _tail(self, source: logtext.Source, offset: object, length: object) -> list[Any]:
        start, count = max(0, number(offset)), max(0, number(length))
        async with self._reading:
            found, following, missed = await asyncio.to_thread(logtext.after, source, start, count)
        return [found.decode(errors="replace"), following, missed]


class Method(NamedTuple):
    """A method and how many parameters it takes."""

    run: Callable[..., Awaitable[Any]]
    least: int = 0
    most: int = 0


_RPC = SupervisorRpc
METHODS: dict[str, Method] = {
    "supervisor.addProcessGroup": Method(_RPC.add_group, 1, 1),
    "supervisor.clearProcessLog": Method(_RPC.clear_logs, 1, 1),
    "supervisor.clearProcessLogs": Method(_RPC.clear_logs, 1, 1),
    "supervisor.getAPIVersion": Method(_RPC.api_version),
    "supervisor.getAllConfigInfo": Method(_RPC.all_config_info),
    "supervisor.getAllProcessInfo": Method(_RPC.all_process_info),
    "supervisor.getIdentification": Method(_RPC.identification),
    "supervisor.getPID": Method(_RPC.pid),
    "supervisor.getProcessInfo": Method(_RPC.process_info, 1, 1),
    "supervisor.getState": Method(_RPC.state),
    "supervisor.getSupervisorVersion": Method(_RPC.supervisor_version),
    "supervisor.getVersion": Method(_RPC.api_version),
    "supervisor.readLog": Method(_RPC.read_main_log, 2, 2),
    "supervisor.readMainLog": Method(_RPC.read_main_log, 2, 2),
    "supervisor.readProcessLog": Method(_RPC.read_out, 3, 3),
    "supervisor.readProcessStderrLog": Method(_RPC.read_err, 3, 3),
    "supervisor.readProcessStdoutLog": Method(_RPC.read_out, 3, 3),
    "supervisor.reloadConfig": Method(_RPC.reload_config),
    "supervisor.removeProcessGroup": Method(_RPC.remove_group, 1, 1),
    "supervisor.restart": Method(_RPC.restart),
    "supervisor.sendProcessStdin": Method(_RPC.send_stdin, 2, 2),
    "supervisor.shutdown": Method(_RPC.shutdown),
    "supervisor.signalAllProcesses": Method(_RPC.signal_all, 1, 1),
    "supervisor.signalProcess": Method(_RPC.signal_process, 2, 2),
    "supervisor.signalProcessGroup": Method(_RPC.signal_group, 2, 2),
    "supervisor.startAllProcesses": Method(_RPC.start_all, 0, 1),
    "supervisor.startProcess": Method(_RPC.start_process, 1, 2),
    "supervisor.startProcessGroup": Method(_RPC.start_group, 1, 2),
    "supervisor.stopAllProcesses": Method(_RPC.stop_all, 0, 1),
    "supervisor.stopProcess": Method(_RPC.stop_process, 1, 2),
    "supervisor.stopProcessGroup": Method(_RPC.stop_group, 1, 2),
    "supervisor.tailProcessLog": Method(_RPC.tail_out, 3, 3),
    "supervisor.tailProcessStderrLog": Method(_RPC.tail_err, 3, 3),
    "supervisor.tailProcessStdoutLog": Method(_RPC.tail_out, 3, 3),
    "system.listMethods": Method(_RPC.list_methods),
    "system.methodHelp": Method(_RPC.method_help, 1, 1),
    "system.methodSignature": Method(_RPC.method_signature, 1, 1),
    "system.multicall": Method(_RPC.multicall, 1, 1),
}
