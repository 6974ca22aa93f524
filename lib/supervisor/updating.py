"""Carrying a new plan out on a running supervisor: only the difference, one service at a time.

The plan follows the world: after each service it says what runs, so a change that fails leaves the services
before it new, itself and those after it old.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping

import msgspec

from lib.errors import NotReadyError, UsageError
from lib.supervisor import tree, workers
from lib.supervisor.change import POSTPONED, Change, changes
from lib.supervisor.release import NewFile, Release
from lib.supervisor.rolling import Roll
from lib.supervisor.service import RunningService
from lib.supervisor.spec import Plan, ServiceSpec
from lib.supervisor.supervisor import Supervisor


async def apply(supervisor: Supervisor, new: Plan, files: Mapping[str, NewFile]) -> list[str]:
    """Change the running plan into `new`; the changes in words. `files` are the contents, by path, of those
    files of services that are others now.

    Raises: NotReadyError for a service that did not become ready; the old one is back then, with its files.
    StorageError when a service's files cannot be written.
    """
    found = changes(supervisor.plan, new)
    specs = {service.name: service for service in new.services}
    _check_files(
        supervisor.plan, [specs[change.service] for change in found if change.service in specs], files
    )
    try:
        for change in found:
            supervisor.log.say(0, str(change))
            if change.service:
                spec = specs.get(change.service)
                own = {path: files[path] for path in (spec.files if spec else ()) if path in files}
                await _carry_out(supervisor, change, spec, Release(own))
    finally:
        # Nobody accepts any more where no process listens: clients must not wait there.
        supervisor.around.listeners.keep(
            address for process in supervisor.processes() for address in process.spec.listen
        )
    order = {name: index for index, name in enumerate(specs)}
    ordered = sorted(supervisor.services.items(), key=lambda item: order.get(item[0], 0))
    # In place: others hold the same dictionary.
    supervisor.services.clear()
    supervisor.services.update(ordered)
    kept = {field: getattr(supervisor.plan, field) for field in POSTPONED}
    supervisor.plan = msgspec.structs.replace(new, **kept)
    supervisor.change_logs(new)
    return [str(change) for change in found]


def _check_files(old: Plan, specs: list[ServiceSpec], files: Mapping[str, NewFile]) -> None:
    """Raises: UsageError when a file that is another in `specs` is missing."""
    known = {path: digest for service in old.services for path, digest in service.files.items()}
    for spec in specs:
        for path, digest in spec.files.items():
            if known.get(path) != digest and path not in files:
                raise UsageError(f"another change came between, to {path}", "reload once more")


async def _carry_out(
    supervisor: Supervisor, change: Change, spec: ServiceSpec | None, release: Release
) -> None:
    name = change.service
    roll = Roll(supervisor.children, supervisor.changed, release)
    if spec is None:
        await _remove(supervisor, name)
    elif change.action == "add":
        await _add(supervisor, spec, release)
    elif change.action == "replace":
        await roll.replace(supervisor.services[name], spec)
    elif change.action == "scale":
        await roll.scale(supervisor.services[name], spec)
    elif change.action == "reload":
        await _reload(supervisor.services[name], spec, roll, release)
    else:
        supervisor.services[name].change_spec(spec)
    others = [service for service in supervisor.plan.services if service.name != name]
    supervisor.plan = msgspec.structs.replace(
        supervisor.plan, services=(*others, *([spec] if spec is not None else []))
    )


async def _reload(service: RunningService, spec: ServiceSpec, roll: Roll, release: Release) -> None:
    """Have it take up its files, and return when its old workers have finished."""
    for process in service.processes:
        if process.state == "starting":
            # Before it has a handler for it the signal would end it.
            await roll.until_ready(process)
    release.install()
    refused = []
    for process in service.processes:
        if process.child is not None:
            before = workers.of(process.child.pid)
            tree.send([process.child.pid], signal.Signals[f"SIG{spec.reload}"])
            if not await workers.renewed(process.child.pid, before):
                refused.append(process.spec.name)
    if refused:
        release.restore()
        raise NotReadyError(
            f"{', '.join(refused)} did not take up the new files; the old ones are back", "", spec.name
        )
    release.keep()
    service.change_spec(spec)


async def _add(supervisor: Supervisor, spec: ServiceSpec, release: Release) -> None:
    release.install()
    supervisor.services[spec.name] = supervisor.make(spec)
    try:
        await supervisor.start([spec.name])
    except NotReadyError:
        await _remove(supervisor, spec.name)
        release.restore()
        raise
    release.keep()


async def _remove(supervisor: Supervisor, name: str) -> None:
    if survivors := await supervisor.stop([name]):
        raise NotReadyError(f"{name} is not removed, for these did not end: {', '.join(survivors)}")
    service = supervisor.services.pop(name)
    for process in service.spec.processes:
        supervisor.around.journal.forget(process.name)
        for address in process.listen:
            supervisor.around.listeners.close(address)
    service.log.close()
