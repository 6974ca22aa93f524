"""A deploy as the list of its phases, and what becomes of it when some of its hosts fail.

Owns the order and the policies. What a phase says to a host is in deploy/phases; what is judged, in plan and
problems.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.blobs import Blob
from deploy.environment import Environment
from deploy.fleet import Fleet, Member
from deploy.manifest import Sign, Signed, Subject, decision
from deploy.phases.decide import give_up, stand, store
from deploy.phases.epoch import promise
from deploy.phases.prepare import prepare
from deploy.phases.stage import Stage
from deploy.phases.switch import Switch
from deploy.plan import waves
from deploy.progress import Progress
from deploy.settings import Groups
from lib.duration import seconds
from lib.errors import AmpzeroError, UnreachableError

RECORD_TIME = 15.0
BAKE_LOOK = 2.0
"""Seconds between two looks at a canary while it bakes."""


@dataclass(frozen=True)
class Release:
    """What is deployed: its signed manifest, and what must travel for it."""

    subject: Subject
    commit: str
    manifest: Signed
    blobs: Mapping[str, Blob]
    compatible: bool


@dataclass
class Outcome:
    """What became of a deploy. `failed`: the error of each host that does not serve the release."""

    release: str
    sequence: int
    commit: str = ""
    serving: list[str] = field(default_factory=list)
    failed: dict[str, AmpzeroError] = field(default_factory=dict)
    reason: str = ""
    rolled_back_to: str = ""

    @property
    def word(self) -> str:
        """One word for the history."""
        if self.rolled_back_to:
            return "rolled back"
        if not self.serving:
            return "failed"
        return "partly done" if self.failed else "done"


class Deploying:
    """One deploy of a `release` to the hosts `names` of a connected `fleet`. Those of them that are lost
    already take no part, also not in going back, but count as failed.

    `previous` makes the release to go back to, or None where there is none. `settings` are what hosts are
    told alone, None for what they were told already; `together` are hosts that none of may be a canary.
    """

    def __init__(self, fleet: Fleet, environment: Environment, release: Release, names: Iterable[str], *,
                 coordinator: str, sign: Sign, progress: Progress, previous: Callable[[], Release | None],
                 settings: Mapping[str, Groups] | None = None, together: frozenset[str] = frozenset(),
                 wait: Callable[[float], None] = time.sleep) -> None:  # fmt: skip
        self._fleet = fleet
        self._environment = environment
        self._release = release
        wanted, here = tuple(names), {member.name for member in fleet.alive}
        self._names = tuple(name for name in wanted if name in here)
        self._left_out = frozenset(wanted) - here
        self._coordinator = coordinator
        self._sign = sign
        self._progress = progress
        self._previous = previous
        self._settings = settings
        self._together = together
        self._wait = wait
        self._epoch = 0

    def run(self) -> Outcome:
        """Stage everywhere, then switch wave after wave.

        Raises: AmpzeroError where nothing was changed on any host.
        """
        outcome = Outcome(self._release.subject.release, self._release.subject.sequence, self._release.commit)
        groups = waves(self._names, self._environment.canary, self._together)
        self._epoch = promise(self._fleet, self._coordinator)
        self._progress.step(f"staging {outcome.release}")
        self._stage()(self._fleet, self._takers(self._names))
        self._give_up_where_too_few()
        for number, group in enumerate(groups):
            if number:
                self._again(group)
            if not self._wave(group, outcome, last=number == len(groups) - 1):
                self._roll_back(outcome)
                break
        outcome.failed = {member.name: member.error for member in self._failed() if member.error}
        self._record(outcome)
        return outcome

    def _wave(self, group: tuple[str, ...], outcome: Outcome, *, last: bool) -> bool:
        """Switch the hosts of a group; False where too few of them became healthy."""
        what = "the canary" if not last else "all hosts" if group == self._names else "the others"
        self._progress.step(f"preparing {what}")
        ready = prepare(
            self._fleet, self._takers(group), self._epoch, seconds(self._environment.policy.step_deadline)
        )
        self._give_up_where_too_few()
        chosen = self._decision("commit", [member.name for member in ready])
        self._progress.step(f"switching {what}")
        stored = store(self._fleet, ready, chosen)
        if self._too_few():
            # Nobody was told that it stands: another epoch may still decide otherwise.
            self._next_epoch()
        self._give_up_where_too_few()
        stand(self._fleet, stored, chosen)
        switch = self._switch()
        healthy = switch.start(self._fleet, stored)
        if self._too_few_well():
            return False
        # From here on users see the new release: a host that is lost now is no reason to take it from them.
        serving = switch.open(self._fleet, healthy)
        if not last and not self._bake(serving):
            return False
        outcome.serving += [member.name for member in switch.finish(self._fleet, serving)]
        return True

    def _takers(self, names: Iterable[str]) -> list[Member]:
        wanted = set(names)
        return [member for member in self._fleet.alive if member.name in wanted]

    def _failed(self) -> list[Member]:
        """Those that will not serve the release, as it looks now."""
        return [member for member in self._fleet.lost
                if member.name in self._names or member.name in self._left_out]  # fmt: skip

    def _too_few(self) -> bool:
        """Whether more hosts failed than the policy bears."""
        return len(self._failed()) > len(self._environment.hosts) - self._environment.min_ready

    def _too_few_well(self) -> bool:
        """Whether the release is bad on more hosts than the policy bears. One that is not heard of any more
        counts not: it knows the decision, and will finish alone; the others must not go back without it.
        """
        failed = self._failed()
        bad = [member for member in failed if member.name in self._names
               and not isinstance(member.error, UnreachableError)]  # fmt: skip
        return bool(bad) and len(failed) > len(self._environment.hosts) - self._environment.min_ready

    def _give_up_where_too_few(self) -> None:
        """Raises: AmpzeroError, after every host was told that nothing comes of it."""
        if not self._too_few():
            return
        first = next(member for member in self._fleet.lost if member.name in self._names and member.error)
        assert first.error is not None  # noqa: S101 -- lost members have one
        reason = first.error
        give_up(self._fleet, self._decision("abort", self._names))
        others = sum(member.name in self._names for member in self._fleet.lost) - 1
        more = f" (and {others} more)" if others else ""
        outcome = Outcome(self._release.subject.release, self._release.subject.sequence, self._release.commit,
                          reason=reason.message)  # fmt: skip
        outcome.failed = {member.name: member.error for member in self._fleet.lost if member.error}
        self._record(outcome)
        error = AmpzeroError(f"{reason.message}{more}; nothing was switched", reason.hint)
        error.exit_code = reason.exit_code
        raise error

    def _decision(self, what: str, names: Iterable[str]) -> Signed:
        return decision(self._release.subject, self._epoch, what, names, self._sign)

    def _stage(self) -> Stage:
        policy = self._environment.policy
        return Stage(
            self._release.manifest, self._epoch, self._release.blobs, self._environment.secrets,
            seconds(policy.step_deadline), seconds(self._environment.hooks.timeout), self._progress,
            self._settings,
        )  # fmt: skip

    def _next_epoch(self) -> None:
        self._fleet.each(self._fleet.alive, Member.ask)
        self._epoch = promise(self._fleet, self._coordinator)

    def _again(self, group: tuple[str, ...]) -> None:
        """A new epoch for the next group: a decision is made once in each."""
        self._next_epoch()
        stage = self._stage()
        self._fleet.each(self._takers(group), stage.bind)

    def _switch(self) -> Switch:
        policy = self._environment.policy
        return Switch(
            self._epoch, self._release.compatible, deadline=seconds(policy.step_deadline),
            health_deadline=seconds(policy.health_deadline), orphan_after=seconds(policy.orphan_after),
            progress=self._progress, wait=self._wait,
        )  # fmt: skip

    def _bake(self, members: list[Member]) -> bool:
        """Look at the canary for a while; False when one of it is not well any more."""
        canary = self._environment.canary
        left = seconds(canary.bake) if canary else 0.0
        self._progress.step(f"watching the canary for {left:.0f} s")
        while left > 0:
            self._wait(min(BAKE_LOOK, left))
            left -= BAKE_LOOK
            self._fleet.each(members, self._still_well)
            if any(member.error for member in members):
                return False
        return True

    def _still_well(self, member: Member) -> None:
        member.call("healthy", timeout=RECORD_TIME, epoch=self._epoch)

    def _roll_back(self, outcome: Outcome) -> None:
        """Go back to the release before, on every host that can be reached; nothing travels for it."""
        bad = [member for member in self._fleet.lost if member.name in self._names]
        outcome.reason = bad[0].error.message if bad and bad[0].error else "too few hosts are healthy"
        outcome.serving = []
        errors = {member.name: member.error for member in bad}
        for member in bad:
            if member.channel is not None:
                member.error = None  # unhealthy with the new release; it may well be with the old one
        self._fleet.each(self._fleet.alive, Member.ask)
        back = self._previous()
        if back is None:
            self._progress.step("there is no release to go back to")
            for member in bad:
                member.error = errors[member.name]
            return
        self._progress.step(f"going back to {back.subject.release}")
        again = Deploying(
            self._fleet, self._environment, back, self._names, coordinator=self._coordinator, sign=self._sign,
            progress=self._progress, previous=lambda: None, wait=self._wait,
        )  # fmt: skip
        try:
            done = again.run_at_once()
            outcome.rolled_back_to = back.subject.release if done else ""
        except AmpzeroError as error:
            outcome.reason += f"; and going back failed: {error.message}"
        for member in bad:
            member.error = member.error or errors[member.name]

    def run_at_once(self) -> list[str]:
        """Switch all hosts in one wave and bear any failure; those that serve. For a way back and a resume.

        Raises: AmpzeroError where the epoch or the decision found no majority.
        """
        self._epoch = promise(self._fleet, self._coordinator)
        takers = self._stage()(self._fleet, self._takers(self._names))
        policy = self._environment.policy
        ready = prepare(self._fleet, takers, self._epoch, seconds(policy.step_deadline))
        if not ready:
            return []
        chosen = self._decision("commit", [member.name for member in ready])
        stored = store(self._fleet, ready, chosen)
        stand(self._fleet, stored, chosen)
        switch = self._switch()
        serving = switch.open(self._fleet, switch.start(self._fleet, stored))
        return [member.name for member in switch.finish(self._fleet, serving)]

    def _record(self, outcome: Outcome) -> None:
        entry: dict[str, Any] = {
            "release": outcome.release, "sequence": outcome.sequence, "commit": outcome.commit,
            "time": int(time.time()), "outcome": outcome.word, "reason": outcome.reason[:500],
            "failed": sorted(outcome.failed)[:100],
        }  # fmt: skip
        self._fleet.tell("record", RECORD_TIME, entry=entry)
