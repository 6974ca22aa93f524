"""What an instance in the storm must be like now: its services, their processes and restarts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.supervisor import tree

MOST = 4
"""Processes of a service at most: the storm is bounded."""

APP = Path(__file__).with_name("chaos_app.py")


class Broken(Exception):
    """Something does not hold."""


@dataclass
class Model:
    """What a service must be like now; `low` and `high` bound each process's restarts by its number."""

    kind: str
    processes: int
    needs: tuple[str, ...] = ()
    wanted: bool = True
    generation: int = 0
    configured: int = 0
    restarts: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.configured = self.processes
        self.resize(self.processes)

    def resize(self, count: int) -> None:
        """Have `count` processes: new ones begin to count at 0."""
        self.processes = count
        self.restarts = {n: self.restarts.get(n, [0, 0]) for n in range(1, count + 1)}


class Expected:
    """All services, by their names."""

    def __init__(self) -> None:
        self.services = {
            "held": Model("held", 2), "http": Model("http", 2), "worker": Model("plain", 2, ("held",)),
            "deaf": Model("deaf", 1), "forker": Model("forker", 1, ("http",)), "once": Model("once", 1),
        }  # fmt: skip

    def family(self, name: str) -> list[Model]:
        """A service and those that it needs."""
        return [self.services[each] for each in (name, *self.services[name].needs)]

    def want(self, name: str) -> None:
        """It was started, and what it needs with it."""
        for model in self.family(name):
            model.wanted = True

    def want_extra(self) -> None:
        """The service that comes and goes was started, where it is there."""
        if "extra" in self.services:
            self.want("extra")

    def differences(self, status: dict[str, Any]) -> list[str]:
        """Where the status is not as the model."""
        found = []
        services = {service["name"]: service for service in status["services"]}
        if services.keys() != self.services.keys():
            found.append(f"services {list(services)}, not {list(self.services)}")
        for name, model in self.services.items():
            processes = {p["number"]: p for p in services.get(name, {}).get("processes", [])}
            if sorted(processes) != sorted(model.restarts):
                found.append(f"{name} has processes {sorted(processes)}, not {sorted(model.restarts)}")
            for number, process in processes.items():
                up = ("completed",) if model.kind == "once" else ("ready",)
                state = process["state"]
                if state not in (up if model.wanted else ("stopped",)):
                    found.append(f"{name}.{number} is {state} ({process['reason']}), wanted: {model.wanted}")
                low, high = model.restarts.get(number, [0, 0])
                if not low <= process["restarts"] <= high:
                    found.append(f"{name}.{number} restarted {process['restarts']} times, not {low}..{high}")
                if process["pid"]:
                    wanted = f"GENERATION={model.generation}".encode()
                    if wanted not in tree.environ(process["pid"]):
                        found.append(f"{name}.{number} is not of {wanted.decode()}")
        return found

    def config(self, python: str, socket: Path, bad: str = "") -> str:
        """The services of amprun.yaml; `bad` never becomes ready, and `held` answers at `socket`."""
        text = ""
        for name, model in self.services.items():
            command = "'true'" if model.kind == "once" else f"{python} {APP} {model.kind}"
            ready = "" if model.kind == "once" else ", ready: {log: '^up$', deadline: 30s}"
            if bad == name:
                ready = ", ready: {log: '^up$', deadline: 0.7s}"
            policy = "on-failure" if model.kind == "once" else "always"
            more = {"http": ", port: auto", "held": f", listen: 'unix:{socket}'"}.get(name, "")
            bad_word = ", BAD: 1" if bad == name else ""
            text += (
                f"  {name}: {{command: {command}, processes: {model.configured}{ready}{more}, "
                f"depends_on: [{', '.join(model.needs)}], env: {{GENERATION: {model.generation}{bad_word}}}, "
                f"stop: {{timeout: 0.5s}}, "
                f"restart: {{policy: {policy}, max: 0.5s, give_up: {{times: 1000}}}}}}\n"
            )
        return text
