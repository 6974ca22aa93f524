"""One process taking another's place: the new one is ready before the old one goes, or the old one stays.

Where the supervisor holds the listening sockets (`listen:`) the two overlap, and no connection is lost.
Elsewhere two of them would be in each other's way (one port, one queue, one file): the old one ends first,
and comes back if the new one never becomes ready.
"""

from __future__ import annotations

import asyncio

from lib.errors import NotReadyError
from lib.supervisor import ending
from lib.supervisor.child import Children
from lib.supervisor.priority import Lowered
from lib.supervisor.process import Process
from lib.supervisor.release import Release
from lib.supervisor.service import DONE, RunningService, failed
from lib.supervisor.spec import ProcessSpec, ServiceSpec
from lib.supervisor.states import ALIVE, SETTLED


class Roll:
    """A rolling replacement; `changed` is set at every change of a process's state.

    `release` are files that only the new ones are to read: they are installed before the first of these
    starts, and the files before are back before an old one starts again.
    """

    def __init__(self, children: Children, changed: asyncio.Event, release: Release | None = None) -> None:
        self._children = children
        self._changed = changed
        self._release = release or Release({})

    async def replace(self, service: RunningService, spec: ServiceSpec) -> None:
        """Replace the processes of `service` by those of `spec`, one after the other, then scale.

        Raises: NotReadyError when a new one does not become ready; it is gone then, and the old one is back.
        StorageError when the files cannot be written; nothing is changed then.
        """
        self._release.install()
        try:
            await self._replace_all(service, spec)
            await self.scale(service, spec)
        except BaseException:
            self._release.restore()
            raise
        self._release.keep()

    async def _replace_all(self, service: RunningService, spec: ServiceSpec) -> None:
        before = service.spec
        done: list[ProcessSpec] = []
        for process in spec.processes:
            old = service.numbered(process.number)
            if old is None:
                continue
            try:
                await self._replace_one(service, old, service.make(process, spec))
            except NotReadyError:
                # Those that were replaced already go back as well: the service is of one kind.
                for other in before.processes:
                    current = service.numbered(other.number)
                    if current is not None and any(other.number == gone.number for gone in done):
                        await self._replace_one(service, current, service.make(other, before))
                raise
            done.append(process)

    async def scale(self, service: RunningService, spec: ServiceSpec) -> None:
        """Let `service` have just the processes of `spec`: new ones are started, the last ones ended.

        Raises: NotReadyError when a new one does not become ready; then all new ones are gone.
        """
        wanted = {process.number: process for process in spec.processes}
        surplus = [process for process in service.processes if process.spec.number not in wanted]
        have = {process.spec.number for process in service.processes}
        added = [service.make(process, spec) for number, process in wanted.items() if number not in have]
        service.incoming += added
        try:
            # Of a service that was stopped all stay stopped.
            for process in added if service.wanted else []:
                process.arm()
                process.start()
            for process in added if service.wanted else []:
                await self.until_ready(process)
        except NotReadyError:
            await ending.end(added, self._children)
            service.incoming = [process for process in service.incoming if process not in added]
            raise
        service.incoming = [process for process in service.incoming if process not in added]
        service.processes += added
        service.change_spec(spec)
        await self._retire(service, surplus)

    async def _replace_one(self, service: RunningService, old: Process, new: Process) -> None:
        new.succeed(old)
        if old.state not in ALIVE:
            await self._instead(service, old, new)
            return
        if new.spec.listen and old.spec.listen:
            await self._overlap(service, old, new)
        else:
            await self._in_turn(service, old, new)

    async def _instead(self, service: RunningService, old: Process, new: Process) -> None:
        """Where the old one does not run."""
        service.processes[service.processes.index(old)] = new
        was, old.aside = old.record(), True
        # It may be about to start again.
        old.disarm()
        if not service.wanted or was.state == "stopped":
            return
        try:
            await self._start(new)
        except NotReadyError:
            await ending.end([new], self._children)
            self._release.restore()
            back = service.make(old.spec, service.spec)
            back.succeed(new)
            service.processes[service.processes.index(new)] = back
            if was.state in SETTLED:
                back.resume(was)
            else:
                # What it ran into is its own; it may have been about to start again.
                back.arm()
                back.start()
            raise

    async def _overlap(self, service: RunningService, old: Process, new: Process) -> None:
        service.incoming.append(new)
        # Until it is ready the old one is what a next supervisor must take over.
        new.aside = True
        try:
            await self._start(new)
        except NotReadyError as error:
            await ending.end([new], self._children)
            self._release.restore()
            raise NotReadyError(
                f"{error.message}; the old one serves on", error.hint, error.service
            ) from None
        finally:
            service.incoming.remove(new)
        new.step_in()
        service.processes[service.processes.index(old)] = new
        await self._retire(service, [old])

    async def _in_turn(self, service: RunningService, old: Process, new: Process) -> None:
        old.aside = True
        await ending.end([old], self._children)
        service.processes[service.processes.index(old)] = new
        _check_wanted(service)
        try:
            await self._start(new)
        except NotReadyError as error:
            await ending.end([new], self._children)
            self._release.restore()
            back = service.make(old.spec, service.spec)
            back.succeed(new)
            service.processes[service.processes.index(new)] = back
            _check_wanted(service)
            await self._start(back)
            raise NotReadyError(f"{error.message}; the old one is back", error.hint, error.service) from None

    async def _retire(self, service: RunningService, processes: list[Process]) -> None:
        service.processes = [process for process in service.processes if process not in processes]
        service.outgoing += processes
        for process in processes:
            process.aside = True
        try:
            await ending.end(processes, self._children)
        finally:
            service.outgoing = [process for process in service.outgoing if process not in processes]

    async def _start(self, process: Process) -> None:
        process.arm()
        process.start()
        with Lowered(lambda: process.pid):
            await self.until_ready(process)

    async def until_ready(self, process: Process) -> None:
        """Wait for it. Raises: NotReadyError when it will not become ready by itself."""
        while process.state not in DONE:
            if failed(process) or process.state == "stopped":
                reason = process.reason
                raise NotReadyError(
                    f"{process.spec.name} did not become ready: {reason}", "", process.spec.service
                )
            self._changed.clear()
            await self._changed.wait()


def _check_wanted(service: RunningService) -> None:
    """Raises: NotReadyError when the service was stopped meanwhile."""
    if not service.wanted:
        raise NotReadyError(f"{service.spec.name} was stopped meanwhile", "", service.spec.name)
