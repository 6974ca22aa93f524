"""What a running supervisor can be told, by name: the one table behind the command line and all protocols."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from lib.errors import AmpzeroError, TakenError, UsageError
from lib.supervisor import errand
from lib.supervisor.child import run_command
from lib.supervisor.release import NewFile
from lib.supervisor.rolling import Roll
from lib.supervisor.spec import Plan
from lib.supervisor.supervisor import Supervisor
from lib.supervisor.updating import apply

OUTSIDE_TIME = 600.0
"""Seconds that ampzero, started for a command that must read files, may take."""

Command = Callable[[list[str], dict[str, Any]], Awaitable[Any]]
ShutDown = Callable[[bool], Awaitable[list[str]]]
"""Ends everything (at once, if True) and the supervisor after it; what is left."""
Leave = Callable[[str], None]
"""Begins to hand over to the supervisor that waits at a socket. Raises: TakenError."""

SHORT = ("status", "plan", "leave")
"""Commands that change nothing themselves."""

ALONE_TIME = 60.0
"""Seconds that the commands which are under way may take before a handover is given up."""


class Commands:
    """The commands of one supervisor. Each runs as a task of its own; none waits for another but those that
    change the plan."""

    def __init__(self, supervisor: Supervisor, shut_down: ShutDown, leave: Leave) -> None:
        self._supervisor = supervisor
        self._shut_down = shut_down
        self._leave_to = leave
        self._under_way = 0
        self._ended = asyncio.Event()
        self._changing = asyncio.Lock()
        self._table: dict[str, Command] = {
            "status": self._status, "plan": self._plan, "start": self._start, "stop": self._stop,
            "restart": self._restart, "signal": self._signal, "scale": self._scale, "reload": self._reload,
            "shutdown": self._shutdown, "leave": self._leave,
        }  # fmt: skip

    async def run(self, command: str, arguments: dict[str, Any]) -> Any:
        """Run `command`; the result is a JSON value.

        Raises: AmpzeroError of the command; UsageError for what is none.
        """
        found = self._table.get(command)
        if found is None:
            raise UsageError(f"no such command: {command!r}", f"commands: {', '.join(self._table)}")
        names = arguments.get("services", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UsageError("services must be a list of names")
        if self._supervisor.left:
            raise TakenError("another supervisor takes over just now", "try again")
        if command in SHORT:
            return await found(names, arguments)
        self._under_way += 1
        try:
            return await found(names, arguments)
        finally:
            self._under_way -= 1
            self._ended.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """While nothing is being changed.

        Raises: TimeoutError.
        """
        async with asyncio.timeout(ALONE_TIME):
            await self._changing.acquire()
            try:
                while self._under_way:
                    self._ended.clear()
                    await self._ended.wait()
            except BaseException:
                self._changing.release()
                raise
        try:
            yield
        finally:
            self._changing.release()

    async def _status(self, names: list[str], arguments: dict[str, Any]) -> Any:
        return self._supervisor.status()

    async def _plan(self, names: list[str], arguments: dict[str, Any]) -> Any:
        return msgspec.json.encode(self._supervisor.plan).decode()

    async def _start(self, names: list[str], arguments: dict[str, Any]) -> Any:
        await self._supervisor.start(names)

    async def _stop(self, names: list[str], arguments: dict[str, Any]) -> Any:
        survivors = await self._supervisor.stop(names, at_once=arguments.get("mode") == "quit")
        return {"survivors": survivors}

    async def _restart(self, names: list[str], arguments: dict[str, Any]) -> Any:
        if not arguments.get("rolling"):
            return await self._supervisor.restart(names)
        async with self._changing:
            roll = Roll(self._supervisor.children, self._supervisor.changed)
            for service in self._supervisor.select(names):
                await roll.replace(service, service.spec)
        return None

    async def _signal(self, names: list[str], arguments: dict[str, Any]) -> Any:
        word = str(arguments.get("signal", ""))
        try:
            number = (
                signal.Signals(int(word))
                if word.isdigit()
                else signal.Signals[f"SIG{word.upper().removeprefix('SIG')}"]
            )
        except (KeyError, ValueError):
            raise UsageError(f"no signal {word!r}", "as TERM, HUP, USR1") from None
        if not names:
            raise UsageError("it is not said whom to signal")
        self._supervisor.signal(names, number)

    async def _scale(self, names: list[str], arguments: dict[str, Any]) -> Any:
        wish = f"{arguments.get('service')}={arguments.get('processes')}"
        await self._outside("scale", wish)

    async def _reload(self, names: list[str], arguments: dict[str, Any]) -> Any:
        if arguments.get("dry_run"):
            return await self._look()
        if "plan" not in arguments:
            await self._outside("reload")
            return []
        try:
            plan = msgspec.json.decode(arguments["plan"], type=Plan)
            files = msgspec.convert(arguments.get("files", {}), dict[str, NewFile])
        except (msgspec.DecodeError, msgspec.ValidationError, TypeError) as error:
            raise UsageError(f"that is no plan: {error}") from None
        async with self._changing:
            return await apply(self._supervisor, plan, files)

    async def _shutdown(self, names: list[str], arguments: dict[str, Any]) -> Any:
        # Whoever asks looks from outside afterwards: the ports must be free then, and we be gone.
        ports = [port for process in self._supervisor.processes() for port in process.spec.ports]
        survivors = await self._shut_down(arguments.get("mode") == "quit")
        return {"survivors": survivors, "ports": ports, "pid": os.getpid()}

    async def _leave(self, names: list[str], arguments: dict[str, Any]) -> Any:
        self._leave_to(str(arguments.get("path", "")))

    async def _look(self) -> list[dict[str, str]]:
        """What a reload would change, each {action, service, why}; nothing is touched.

        Raises: AmpzeroError, with what ampzero said about the files.
        """
        supervisor = self._supervisor
        argv = (*supervisor.plan.command, "reload", *supervisor.plan.target, "--dry-run", "--json")
        with open(os.memfd_create("changes", os.MFD_CLOEXEC), "rb") as output:  # noqa: PTH123 -- a descriptor
            try:
                how = await run_command(
                    supervisor.children, argv, cwd="/", env=supervisor.outside_environment(),
                    timeout=OUTSIDE_TIME, output=output.fileno(),
                )  # fmt: skip
            except OSError as error:
                raise AmpzeroError(f"cannot run {argv[0]}: {error.strerror}") from None
            output.seek(0)
            said = output.read()
        try:
            if how.succeeded:
                return msgspec.json.decode(said, type=list[dict[str, str]])
        except msgspec.DecodeError:
            pass
        first, *_ = [*said.decode(errors="replace").strip().splitlines(), f"the reload failed: {how}"]
        raise AmpzeroError(first.removeprefix("ampzero: error: "))

    async def _outside(self, *words: str) -> None:
        """Have ampzero itself do it, in a process of its own: it reads the files, and comes back with a plan.

        Raises: AmpzeroError when it fails; what it said is in the supervisor's log.
        """
        supervisor = self._supervisor
        first, *rest = words
        argv = (*supervisor.plan.command, first, *supervisor.plan.target, *rest)
        try:
            how = await errand.run(
                supervisor.children, argv, env=supervisor.outside_environment(),
                timeout=OUTSIDE_TIME, log=supervisor.log,
            )  # fmt: skip
        except OSError as error:
            raise AmpzeroError(f"cannot run {argv[0]}: {error.strerror}") from None
        if not how.succeeded:
            raise AmpzeroError(
                f"`ampzero {' '.join(words)}` failed: {how}",
                f"ampzero logs {supervisor.plan.name} supervisor",
            )
