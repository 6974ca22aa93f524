"""The switchover: CLOSE everywhere, then SWAP and START, then OPEN; the barriers are what nobody overtakes.

No host opens the new release before every host that takes part has closed the old one, or must have: a host
that knows the decision and hears nothing of us closes by itself after `orphan_after` seconds.
A compatible release needs no barrier: each host starts the new beside the old.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from deploy.fleet import Fleet, Member
from deploy.progress import Progress

FENCE_MARGIN = 10.0
"""Seconds on top of `orphan_after` until a host that is not heard of must have closed."""


@dataclass(frozen=True)
class Switch:
    """One switchover. All times in seconds; `wait` sleeps."""

    epoch: int
    compatible: bool
    deadline: float
    health_deadline: float
    orphan_after: float
    progress: Progress
    wait: Callable[[float], None] = time.sleep

    def start(self, fleet: Fleet, members: list[Member]) -> list[Member]:
        """Bring the release up on the hosts, closed to users unless it is compatible; the healthy ones."""
        closed = members if self.compatible else self._close(fleet, members)
        swapped = self._all(fleet, closed, "swap", "switching", self.deadline)
        return self._all(fleet, swapped, "start", "starting", self.deadline + self.health_deadline)

    def open(self, fleet: Fleet, members: list[Member]) -> list[Member]:
        """Let users in; the hosts that serve."""
        if self.compatible:
            return members
        return self._all(fleet, members, "open", "opening", self.deadline)

    def finish(self, fleet: Fleet, members: list[Member]) -> list[Member]:
        """Record the release as healthy, and clear up."""
        return self._all(fleet, members, "finish", "serves the new release", self.deadline)

    def _close(self, fleet: Fleet, members: list[Member]) -> list[Member]:
        closed = self._all(fleet, members, "close", "closing", self.deadline)
        if len(closed) < len(members):
            span = self.orphan_after + FENCE_MARGIN
            self.progress.step(
                f"waiting {span:.0f} s until hosts that are not heard of have closed by themselves"
            )
            self._keep_in_touch(fleet, closed, span)
        return closed

    def _keep_in_touch(self, fleet: Fleet, members: list[Member], span: float) -> None:
        """Wait, and let the other hosts hear of us: they must not think that they are alone."""
        left = span  # what the calls take comes on top of it
        while left > 0:
            fleet.each([member for member in members if member.error is None], self._ping)
            self.wait(min(self._often, left))
            left -= self._often

    @property
    def _often(self) -> float:
        """Seconds between two words to a host that waits for others."""
        return max(0.1, min(5.0, self.orphan_after / 3))

    def _ping(self, member: Member) -> None:
        member.call("ping", timeout=self.deadline, epoch=self.epoch)

    def _all(self, fleet: Fleet, members: list[Member], op: str, text: str, deadline: float) -> list[Member]:
        def ask(member: Member) -> None:
            self.progress.host(member.name, text)
            member.call(op, timeout=deadline, epoch=self.epoch)

        chosen = [member for member in members if member.error is None]
        done = fleet.each(chosen, ask, meanwhile=self._ping, every=self._often)
        return [member for member in members if member.name in done]
