"""What every exporter gets and gives: the plan of an instance, and files that have another keeper run it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lib.instance import Instance
from lib.supervisor.spec import Plan, ProcessSpec, ServiceSpec

APPLICATIONS = ("ampnode", "zerodata", "logstore")
"""Kinds whose processes are parts of ampzero."""


@dataclass(frozen=True)
class Target:
    """Where the files go. `user`: for a service manager of one user, without root rights.

    `owner` runs the services (empty: who runs the manager), `path` is the PATH that they get, `launcher` the
    argv that starts ampzero.
    """

    instance: Instance
    plan: Plan
    output: Path
    launcher: tuple[str, ...]
    path: str
    user: bool = False
    owner: str = ""


@dataclass
class Exported:
    """Files by their names below the output folder, with their modes; and what they do not say."""

    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    hint: str = ""

    def lost(self, service: str, key: str, why: str) -> None:
        """Note that a key of a service is not carried over, and why."""
        self.notes.append(f"services.{service}.{key}: not carried over: {why}")


Exporter = Callable[[Target], Exported]


def variables(target: Target, process: ProcessSpec) -> dict[str, str]:
    """The environment of a process; the parts of ampzero also learn of their instance.

    Others do not: what carries AMPZERO_VAR counts as left over by a supervisor, and would be ended.
    """
    found = {"PATH": target.path, "PYTHONUNBUFFERED": "1", **process.env}
    if is_own(target, process):
        plan = target.plan
        found |= {
            "AMPZERO_INSTANCE": plan.name, "AMPZERO_DIRECTORY": plan.directory, "AMPZERO_VAR": plan.var,
            "AMPZERO_CONTROL": f"{plan.sockets}/control.sock",
            "AMPZERO_EVENTS": f"{plan.sockets}/events.sock",
            "AMPZERO_SERVICE": process.service, "AMPZERO_PROCESS": process.name,
        }  # fmt: skip
    return found


def is_own(target: Target, process: ProcessSpec) -> bool:
    """Whether a process is an application of ampzero itself, that has to know its instance."""
    kinds = {service.name: service.kind for service in target.plan.services}
    return kinds[process.service] in APPLICATIONS


def is_one_shot(service: ServiceSpec) -> bool:
    """Whether a service does its work and ends."""
    return service.restart.policy == "never"


def skip_scheduled(exported: Exported, plan: Plan) -> list[ServiceSpec]:
    """The services that run all the time; the ones with a schedule are noted."""
    kept = []
    for service in plan.services:
        if service.schedule:
            exported.lost(service.name, "schedule", "write a timer or a crontab line for it")
        else:
            kept.append(service)
    return kept
