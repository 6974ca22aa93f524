"""What a new plan changes in a running one. Pure: `--dry-run` prints it, the supervisor carries it out."""

from __future__ import annotations

from typing import Literal

import msgspec

from lib.supervisor.spec import Plan, ServiceSpec, digest

Action = Literal["add", "remove", "replace", "scale", "reload", "adjust", "postpone", "succeed"]
"""add, remove: the service. replace: its processes are started differently, one after the other. scale: more
or fewer of the same. reload: only its files changed, and a signal makes it take them up. adjust: what needs
no new process, as its restart policy. postpone: what only a new supervisor takes up.
succeed: a supervisor of this version takes the place of the running one."""

LOGS = ("log_segment", "log_keep", "log_age", "log_compress")
POSTPONED = ("metrics", "on_crash")
"""Fields of a plan that a supervisor takes up at its start only; amprun.yaml calls them the same."""


class Change(msgspec.Struct, frozen=True):
    """One service's change, or, without a service, the instance's; `why` names what differs."""

    action: Action
    service: str
    why: str = ""

    def __str__(self) -> str:
        """For a person: `replace web: argv, env`."""
        if self.action == "postpone":
            return f"not changed before the next run (ampzero stop, ampzero run): {self.why}"
        if self.action == "succeed":
            return f"replace the supervisor: {self.why}"
        return f"{self.action}{' ' if self.service else ''}{self.service}{': ' if self.why else ''}{self.why}"


def changes(old: Plan, new: Plan) -> list[Change]:
    """The changes from `old` to `new`: what goes first, then the others in the new plan's order.

    What shrinks while others are told so by their files (nginx of the node's sockets) comes after these:
    nobody may be sent to a process that is ending. The instance's own come last.
    """
    found = _services(old, new)
    late = [change for change in found if _is_late(change, found, old, new)]
    late.sort(key=lambda change: [each.name for each in old.services].index(change.service), reverse=True)
    return [*(change for change in found if change not in late), *late, *_own(old, new)]


def _services(old: Plan, new: Plan) -> list[Change]:
    before = {service.name: service for service in old.services}
    after = {service.name: service for service in new.services}
    found = [Change("remove", name) for name in reversed(before) if name not in after]
    for name, service in after.items():
        if name not in before:
            found.append(Change("add", name))
        elif change := _change(before[name], service):
            found.append(change)
    return found


def _is_late(change: Change, found: list[Change], old: Plan, new: Plan) -> bool:
    before = {service.name: service for service in old.services}
    after = {service.name: service for service in new.services}
    if change.service not in before:
        return False
    left = after[change.service].processes if change.service in after else ()
    if len(left) >= len(before[change.service].processes):
        return False
    told = (each.service for each in found if each.action in ("reload", "replace"))
    return any(
        change.service in before[name].depends_on and before[name].files != after[name].files
        for name in told
        if name != change.service
    )


def _own(old: Plan, new: Plan) -> list[Change]:
    found = []
    if any(getattr(old, field) != getattr(new, field) for field in LOGS):
        found.append(Change("adjust", "", "logs"))
    if old.notes.get("release", "") != new.notes.get("release", ""):
        found.append(Change("adjust", "", "release"))
    if later := [field for field in POSTPONED if getattr(old, field) != getattr(new, field)]:
        found.append(Change("postpone", "", ", ".join(later)))
    return found


def _change(old: ServiceSpec, new: ServiceSpec) -> Change | None:
    differing = [field for field in _differing_processes(old, new) if field != "files"]
    files = sorted(path for path in {**old.files, **new.files} if old.files.get(path) != new.files.get(path))
    scaled = len(old.processes) != len(new.processes)
    # A signal makes those that run take up their files, but neither starts nor ends any.
    if differing or old.kind != new.kind or (files and (scaled or not new.reload)):
        return Change("replace", new.name, ", ".join([*differing, *files]) or "kind")
    if files:
        return Change("reload", new.name, ", ".join(files))
    if scaled:
        return Change("scale", new.name, f"{len(old.processes)} -> {len(new.processes)} processes")
    rest = [
        field
        for field in ("depends_on", "restart", "stop", "schedule", "reload")
        if getattr(old, field) != getattr(new, field)
    ]
    return Change("adjust", new.name, ", ".join(rest)) if rest else None


def _differing_processes(old: ServiceSpec, new: ServiceSpec) -> list[str]:
    """The fields in which a process that both have is started differently."""
    before = {process.number: process for process in old.processes}
    found: dict[str, None] = {}
    for process in new.processes:
        other = before.get(process.number)
        if other is not None and digest(other) != digest(process):
            for field in process.__struct_fields__:
                if getattr(other, field) != getattr(process, field):
                    found[field] = None
    return list(found)
