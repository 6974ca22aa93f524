"""Who waits for whom, and why the last one of a chain is not there: lines of a tree, made from a status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib.view.model import GOOD


@dataclass(frozen=True)
class Knot:
    """One line of the tree. `branch` is what is drawn before the name."""

    branch: str
    name: str
    state: str
    why: str


def waits_for(service: Mapping[str, Any]) -> list[str]:
    """The names of the services that `service` waits for, without doubles."""
    words = [word for process in service["processes"] for word in process["waits_for"]]
    return list(dict.fromkeys(word.partition(" (")[0] for word in words))


def tree(status: Mapping[str, Any]) -> list[Knot]:
    """All that is not as it should be: those at the ends of the chains first, what they wait for below them.

    Empty when everything is well.
    """
    services = {service["name"]: service for service in status["services"]}
    waited = {name for service in services.values() for name in waits_for(service)}
    knots: list[Knot] = []
    for name, service in services.items():
        if name not in waited and (service["state"] not in GOOD or waits_for(service)):
            _grow(knots, services, name, "", "", ())
    return knots


def _grow(knots: list[Knot], services: Mapping[str, Mapping[str, Any]], name: str, branch: str, stem: str,
          above: tuple[str, ...]) -> None:  # fmt: skip
    service = services.get(name)
    if service is None:
        knots.append(Knot(branch, name, "unknown", ""))
        return
    needs = [need for need in waits_for(service) if need not in above]
    knots.append(Knot(branch, name, service["state"], "waits for:" if needs else why(service)))
    for index, need in enumerate(needs):
        last = index == len(needs) - 1
        _grow(knots, services, need, stem + ("└─ " if last else "├─ "), stem + ("   " if last else "│  "),
              (*above, name))  # fmt: skip


def why(service: Mapping[str, Any]) -> str:
    """Why a service is as it is: its own reason, or those of its processes."""
    reasons = [service["reason"], *(process["reason"] for process in service["processes"])]
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason))
