"""DECIDE: a signed decision, on the disks of a majority of all hosts before anyone acts on it.

It proves itself, so any host can keep it for the others: a coordinator on another machine finds it there.
"""

from __future__ import annotations

from deploy.fleet import Fleet, Member
from deploy.manifest import Signed
from deploy.plan import majority
from lib.errors import AmpzeroError

DECIDE_TIME = 15.0


class UndecidedError(AmpzeroError):
    """The decision may be known to some hosts, and not to a majority: only a resume can tell."""


def store(fleet: Fleet, takers: list[Member], decision: Signed) -> list[Member]:
    """Have `decision` stored by every host that can be reached; the takers that did. Nobody acts on it yet.

    Raises: UndecidedError.
    """
    stored = fleet.each(fleet.alive, lambda member: _tell(member, decision, durable=False))
    if len(stored) < (needed := majority(len(fleet.members))):
        raise UndecidedError(
            f"the decision is on {len(stored)} of {len(fleet.members)} hosts, and {needed} are needed",
            "the old release serves on; once more hosts can be reached: ampzero deploy --resume",
        )
    return [member for member in takers if member.name in stored]


def stand(fleet: Fleet, takers: list[Member], decision: Signed) -> None:
    """Tell the `takers` that the stored decision stands: from here on each of them would finish alone."""
    fleet.each(takers, lambda member: _tell(member, decision, durable=True))


def give_up(fleet: Fleet, decision: Signed) -> None:
    """Tell every host that was reached that nothing comes of it, as well as it goes: nobody must consent."""
    fleet.tell("decide", DECIDE_TIME, decision=decision.text, signature=decision.signature, durable=True)


def _tell(member: Member, decision: Signed, *, durable: bool) -> None:
    member.call(
        "decide", timeout=DECIDE_TIME, decision=decision.text, signature=decision.signature, durable=durable
    )
