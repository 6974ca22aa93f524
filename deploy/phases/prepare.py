"""PREPARE: each host vouches that it can finish from what it has, should it never hear of us again."""

from __future__ import annotations

from deploy.fleet import Fleet, Member


def prepare(fleet: Fleet, members: list[Member], epoch: int, deadline: float) -> list[Member]:
    """The members that vouch."""

    def ask(member: Member) -> None:
        member.call("prepare", timeout=deadline, epoch=epoch)

    done = fleet.each(members, ask)
    return [member for member in members if member.name in done]
