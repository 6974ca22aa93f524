"""A supervisor's life: start, serve commands, obey signals, end. Ties the supervisor to its sockets."""

from __future__ import annotations

import asyncio
import os
import signal
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from lib import console
from lib.errors import AmpzeroError, TakenError
from lib.supervisor import leaving, upward
from lib.supervisor.commands import Commands
from lib.supervisor.ending import COMMAND
from lib.supervisor.launch import Launch, Report
from lib.supervisor.supervisor import Supervisor

if TYPE_CHECKING:
    from lib.control.faces import Faces
    from lib.control.server import ControlServer
    from lib.supervisor.printer import Printer

INTERRUPTED = 130
"""The exit code of a start that was stopped before it was done."""


class Life:
    """One run of a supervisor. `ended` is set with the exit code when everything is over."""

    def __init__(self, launch: Launch, guardian: int = -1) -> None:
        """`guardian` is the descriptor of guardian.py, where there is one."""
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._launch = launch
        self._guardian = guardian
        self._started = False
        self._leaving: asyncio.Task[None] | None = None
        self._server: ControlServer | None = None
        self._faces: Faces | None = None
        self._ending: asyncio.Task[list[str]] | None = None
        self._interrupted = False
        self._error: tuple[str, ...] = ()
        """What and hint of a start that failed."""
        self._printer: Printer | None = None
        if launch.foreground:
            from lib.supervisor.printer import Printer

            names = [f"{service.name}.1 " for service in launch.plan.services]
            self._printer = Printer(longest=max(len(name) for name in ("supervisor ", *names)))
        self._supervisor = Supervisor(
            launch.plan,
            publish=self._publish,
            listener=self._printer,
            held=launch.held,
            umask=launch.umask,
            open_files=launch.open_files,
            listening=launch.listening,
            succeeds=launch.succeeds,
        )
        self.commands = Commands(self._supervisor, self._shut_down, self._leave)

    async def run(self) -> int:
        """Start everything and stay until a command or a signal ends it; the exit code."""
        try:
            return await self._run()
        except Exception as error:
            # A mistake of ours, or a disk without room for a socket: nothing may be left running by it.
            traceback.print_exc()
            await self._supervisor.shut_down(at_once=True)
            self._fail(f"the supervisor failed: {error!r}", "", AmpzeroError.exit_code)
            return AmpzeroError.exit_code
        finally:
            self._supervisor.close()
            if self._printer is not None:
                self._printer.close()
                if self._error:
                    console.error(*self._error)

    async def _run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        # A handler in any case, since the children would inherit SIG_IGN.
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        await self._supervisor.open()
        starting = loop.create_task(self._start())
        await asyncio.sleep(0)
        from lib.control.server import ControlServer

        sockets = Path(self._launch.plan.sockets)
        self._server = ControlServer(sockets, self.commands.run)
        self._open_faces(sockets, self._server)
        await starting
        self._started = True
        code = await self.ended
        if self._faces is not None:
            await self._faces.close()
        await self._server.close()
        return code

    def _open_faces(self, sockets: Path, server: ControlServer) -> None:
        from lib.control.faces import Faces

        self._faces = Faces(
            sockets, lambda: self._supervisor.plan, self._supervisor.status, self.commands.run,
            context=server.context, say=lambda text: self._supervisor.log.say(0, text),
        )  # fmt: skip
        self._faces.open()

    async def _start(self) -> None:
        try:
            await self._supervisor.start()
        except AmpzeroError as error:
            if self._ending is None and self._supervisor.adopted:
                # What was taken over works: a part that does not come up is no reason to end it.
                self._fail(f"{error.message}; the others run on", error.hint, error.exit_code, runs_on=True)
                self._close_progress()
            elif self._ending is None:
                survivors = await self._end(at_once=False, why=f"the start failed: {error.message}")
                message = error.message + (f"; left: {', '.join(survivors)}" if survivors else "")
                self._fail(message, error.hint, error.exit_code, getattr(error, "service", ""))
                self._finish(error.exit_code)
            else:
                self._interrupted = True
                self._fail("stopped while it was starting", "", INTERRUPTED)
            return
        self._supervisor.log.say(0, "ready")
        self._report(Report(ready=True))
        upward.ready()
        self._close_progress()

    def _fail(
        self, message: str, hint: str, exit_code: int, service: str = "", *, runs_on: bool = False
    ) -> None:
        self._error = (message, hint)
        self._report(Report(error=message, hint=hint, exit_code=exit_code, service=service, runs_on=runs_on))

    async def _shut_down(self, at_once: bool) -> list[str]:
        survivors = await self._end(at_once=at_once)
        asyncio.get_running_loop().call_soon(self._finish, 9 if survivors else 0)
        return survivors

    async def _end(self, *, at_once: bool, why: str = COMMAND) -> list[str]:
        """End everything once, however often it is asked for; a quit overtakes a stop."""
        if self._ending is None or at_once:
            upward.stopping()
            said = "quitting" if at_once else "stopping"
            self._supervisor.log.say(0, said if why == COMMAND else f"{said}: {why}")
            self._ending = asyncio.get_running_loop().create_task(
                self._supervisor.shut_down(at_once=at_once, why=why)
            )
        return await asyncio.shield(self._ending)

    def _leave(self, path: str) -> None:
        """Begin to hand everything to the supervisor that waits at the unix socket `path`.

        Raises: TakenError.
        """
        name = self._launch.plan.name
        if self._launch.foreground:
            raise TakenError(
                f"{name} runs in the foreground: no other supervisor can take over",
                "stop it, and run it again",
            )
        if not self._started or self._ending is not None or self._leaving is not None:
            raise TakenError(f"{name} is just being started, stopped or taken over", "try again later")
        self._leaving = asyncio.get_running_loop().create_task(self._hand_over(path))

    async def _hand_over(self, path: str) -> None:
        try:
            async with leaving.offer(path) as offer, self.commands.alone():
                if not await offer.make(self._supervisor.last_will(self._launch)):
                    return
                self._supervisor.leave()
        except (OSError, TimeoutError) as error:
            self._supervisor.log.say(0, f"no supervisor takes over: {error or 'it took too long'}")
            return
        finally:
            self._leaving = None
        if self._guardian >= 0:
            os.write(self._guardian, b"\0")
        self._finish(0)

    def _on_signal(self) -> None:
        async def end(at_once: bool) -> None:
            self._finish(9 if await self._end(at_once=at_once) else 0)

        # A second signal means: do not wait any longer.
        self._signal_task = asyncio.get_running_loop().create_task(end(self._ending is not None))

    def _on_hangup(self) -> None:
        # The terminal closed. In the foreground that is the user's going; else it is no reason to go. It may
        # be told twice (by the kernel and by a shell), and the second time does not mean haste.
        if self._launch.foreground and self._ending is None:
            self._on_signal()

    def _finish(self, code: int) -> None:
        if not self.ended.done():
            self.ended.set_result(INTERRUPTED if self._interrupted else code)

    def _publish(self, topic: str, body: dict[str, Any]) -> None:
        if self._server is not None:
            self._server.publish(topic, body)
        if self._faces is not None:
            self._faces.publish(topic, body)
        if self._launch.progress >= 0:
            name = f"{body['service']}.{body['number']}"
            self._report(Report(service=name, state=body["state"], reason=body["reason"]))

    def _report(self, report: Report) -> None:
        send(self._launch, report)

    def _close_progress(self) -> None:
        if self._launch.progress >= 0:
            os.close(self._launch.progress)
            self._launch = msgspec.structs.replace(self._launch, progress=-1)


def send(launch: Launch, report: Report) -> None:
    """Tell the starter, when there is one."""
    if launch.progress >= 0:
        # It may be gone (Ctrl-C): the start goes on without it.
        with suppress(OSError):
            os.write(launch.progress, msgspec.json.encode(report) + b"\n")


async def live(launch: Launch, guardian: int = -1) -> int:
    """Run `launch` in the running loop; returns the exit code of lib/errors.py."""
    try:
        life = Life(launch, guardian)
    except AmpzeroError as error:
        send(launch, Report(error=error.message, hint=error.hint, exit_code=error.exit_code))
        if launch.foreground:
            console.error(error.message, error.hint)
        return error.exit_code
    return await life.run()
