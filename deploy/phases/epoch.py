"""EPOCH: a number above all that any host has seen, promised by a majority of the inventory.

The epoch is what keeps two coordinators apart; no lock could, for its holder may come back from the dead.
"""

from __future__ import annotations

import os

from deploy.fleet import Fleet, Member
from deploy.plan import majority, next_epoch
from lib.errors import RefusedError

PROMISE_TIME = 15.0


def coordinator_id() -> str:
    """A name of this run of the coordinator: two of them never promise the same epoch to one host."""
    return os.urandom(8).hex()


def promise(fleet: Fleet, coordinator: str) -> int:
    """The epoch of what follows; hosts that refuse it are out.

    Raises: RefusedError where no majority of all hosts promised it.
    """
    epoch = next_epoch(member.facts for member in fleet.alive)

    def ask(member: Member) -> None:
        member.call("promise", timeout=PROMISE_TIME, epoch=epoch, coordinator=coordinator)

    promised = fleet.each(fleet.alive, ask)
    needed = majority(len(fleet.members))
    if len(promised) < needed:
        refused = next(
            (member.error for member in fleet.lost if isinstance(member.error, RefusedError)), None
        )
        if refused is not None:
            raise refused
        raise RefusedError(
            f"only {len(promised)} of {len(fleet.members)} hosts promised the epoch, and {needed} must",
            "bring the others back, or take them out of deployment.yaml",
        )
    return epoch
