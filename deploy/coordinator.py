"""The coordinator of one environment: connects, plans, and carries out a deploy, a way back or a resume.

Everything that must be remembered is on the hosts: any machine with the instance and its key can take over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy import earlier, keyspace
from deploy import release as releases
from deploy.blobs import Blob, Blobs
from deploy.deploying import Deploying, Outcome, Release
from deploy.earlier import Trusts
from deploy.environment import Environment
from deploy.facts import Live
from deploy.fleet import Fleet, Member, Opener
from deploy.manifest import Sign, Subject, decision, manifest
from deploy.phases.decide import give_up
from deploy.phases.epoch import coordinator_id, promise
from deploy.phases.keyspace import etcd_members
from deploy.plan import Plan, Trees, next_sequence, plan_host, waves
from deploy.problems import no_room, problem
from deploy.progress import Progress
from deploy.secrets import secrets_name
from deploy.settings import HostSettings
from lib.errors import AmpzeroError, MissingError, UnreachableError, UsageError
from lib.instance import Instance

BUILT = "releases"
"""What all instances of the user share of the cache: wheels, and tars by their hash."""


@dataclass(frozen=True)
class Built:
    """A release for every platform of an environment."""

    release: str
    commit: str
    trees: Mapping[str, Trees]


class Coordinator:
    """Deploys `instance` to `environment`. `folder` is its cache (0700); users type `typed` for NAME."""

    def __init__(
        self, instance: Instance, environment: Environment, *, opener: Opener, sign: Sign, trusts: Trusts,
        folder: Path, progress: Progress, typed: str, tools: Iterable[str] = (),
        settings: HostSettings | None = None,
    ) -> None:  # fmt: skip
        self._instance = instance
        self._environment = environment
        self._opener = opener
        self._sign = sign
        self._trusts = trusts
        self._blobs = Blobs(folder)
        self._folder = folder
        self._progress = progress
        self._typed = typed
        self._tools = tuple(tools)
        self._settings = settings or HostSettings(environment, folder)
        self._id = coordinator_id()

    def fleet(self) -> Fleet:
        """All hosts of the environment, not connected yet; use it in a `with`."""
        return Fleet(self._environment.hosts, self._opener, self._progress)

    def connect(self, fleet: Fleet, least: int | None = None) -> None:
        """Reach the hosts; at least `least` of them, or as many as the policy wants.

        Raises: the first host's error where too many cannot be reached or used.
        """
        self._progress.step(f"connecting to {len(fleet.members)} hosts")
        for member in fleet.connect():
            member.error = problem(
                member.name, member.facts, instance=self._instance.name, environment=self._environment.name,
                skew=member.skew, tools=self._needed(member.name), root=self._environment.root,
                typed=f"ampzero deploy {self._typed} --env {self._environment.name} --setup",
            )  # fmt: skip
            if member.error:
                self._progress.failed(member.name, member.error.message)
        self._check_enough(fleet, self._environment.min_ready if least is None else least)

    def _needed(self, name: str) -> tuple[str, ...]:
        is_member = name in keyspace.names(self._environment.keyspace)
        return (*self._tools, *((keyspace.PROGRAM,) if is_member else ()))

    def _check_enough(self, fleet: Fleet, least: int) -> None:
        lost = fleet.lost
        if len(fleet.alive) >= least:
            return
        first = next(member.error for member in lost if member.error)
        if len(lost) == 1:
            raise first
        error = AmpzeroError(
            f"{first.message} (and {len(lost) - 1} more hosts); nothing was changed", first.hint
        )
        error.exit_code = first.exit_code
        raise error

    def build(self, fleet: Fleet) -> Built:
        """The release of what is committed now, for each platform among the hosts.

        Raises: AmpzeroError.
        """
        platforms = sorted({member.facts.platform for member in fleet.alive})
        self._progress.step(f"building the release for {', '.join(platforms)}")
        found: dict[str, Trees] = {}
        left_out: set[str] = set()
        commit = ""
        cache = self._folder.parent / BUILT
        for platform in platforms:
            made = releases.build(self._instance, platform, cache)
            commit = made.commit
            found[platform] = {tree.kind: tree for tree in made.trees}
            left_out.update(made.left_out)
            for tree in made.trees:
                self._blobs.keep(tree.tar, tree.sha256)
        if left_out:
            self._progress.output("", f"left out, for it is never deployed: {', '.join(sorted(left_out))}")
        return Built(releases.release_id(found), commit, found)

    def plan(self, fleet: Fleet, built: Built, names: Iterable[str] = ()) -> Plan:
        """What a deploy of `built` to the hosts `names` (default all) would do.

        Raises: AmpzeroError where a host has no room, or an earlier deploy is not finished.
        """
        asked = set(names)
        chosen = self._chosen(fleet, asked)
        self._check_pending(fleet)
        have = self._blobs.tars()
        secrets = secrets_name(self._folder, self._environment)
        lacking = self._settings.lacking(fleet.facts)
        hosts = []
        for member in chosen:
            facts = member.facts
            host = plan_host(member.name, facts, built.release, built.trees[facts.platform], have, secrets,
                             told=member.name in lacking)  # fmt: skip
            member.error = no_room(member.name, facts, host.room)
            if member.error is None:
                hosts.append(host)
        self._check_enough(fleet, self._environment.min_ready)
        names = [host.name for host in hosts]
        together = self._settings.together(fleet.facts, names)
        return Plan(
            built.release, next_sequence(member.facts for member in fleet.alive), built.commit,
            self._environment.release.compatible, tuple(hosts),
            waves(names, self._environment.canary, together), self._environment.min_ready,
            tuple(member.name for member in fleet.lost if not asked or member.name in asked),
        )  # fmt: skip

    def blobs(self, plan: Plan) -> dict[str, dict[str, Blob]]:
        """What each host of the plan will be sent: by host, by kind of tree."""
        chosen = self._blobs.choose(send for host in plan.hosts for send in host.sends)
        return {host.name: {send.kind: chosen[send] for send in host.sends} for host in plan.hosts}

    def deploy(self, fleet: Fleet, built: Built, plan: Plan) -> Outcome:
        """Carry the plan out.

        Raises: AmpzeroError where nothing was changed on any host.
        """
        self._progress.step("making what must be sent")
        sent = {blob.sha256: blob for found in self.blobs(plan).values() for blob in found.values()}
        target = self._release(built.release, built.commit, plan.sequence, built.trees, sent)
        return self._deploying(fleet, target, [*(host.name for host in plan.hosts), *plan.left_out]).run()

    def rollback(self, fleet: Fleet, wanted: str = "") -> Outcome:
        """Go back to the release `wanted`, or to the one that was healthy before.

        Raises: MissingError where no host knows it; AmpzeroError where nothing was changed.
        """
        self._check_pending(fleet)
        before = earlier.named(fleet, wanted) if wanted else earlier.before(fleet)
        target = self._known(fleet, before) if before else None
        if wanted and before is None:
            raise MissingError(f"no host has a release {wanted!r}", f"ampzero releases {self._typed}")
        if target is None:
            raise MissingError("there is no earlier release to go back to", f"ampzero releases {self._typed}")
        return self._deploying(fleet, target, [member.name for member in fleet.members]).run()

    def only_failed(self, fleet: Fleet) -> Outcome | None:
        """Bring the hosts that do not serve the newest release to it; None where all do.

        Raises: AmpzeroError where nothing was changed.
        """
        newest = max((member.facts.current for member in fleet.alive if member.facts.current),
                     key=lambda live: live.sequence, default=None)  # fmt: skip
        if newest is None:
            raise MissingError("no host has a release yet", f"ampzero deploy {self._typed}")
        behind = [member.name for member in fleet.alive
                  if member.facts.state != "open" or not member.facts.current
                  or member.facts.current.release != newest.release]  # fmt: skip
        if not behind:
            return None
        target = self._known(fleet, newest)
        if target is None:
            raise MissingError(
                f"no host has the manifest of {newest.release}", f"ampzero deploy {self._typed}"
            )
        return self._deploying(fleet, target, behind).run()

    def resume(self, fleet: Fleet) -> Outcome | None:
        """Finish or give up what another run began; None where nothing is pending.

        Raises: AmpzeroError.
        """
        pending = {member.name: member.facts.pending for member in fleet.alive if member.facts.pending}
        if not pending:
            return None
        decided = [each for each in pending.values() if each and each.decision == "commit"]
        newest = max(
            (each for each in pending.values() if each), key=lambda each: (bool(each.decision), each.epoch)
        )
        if not decided:
            epoch = promise(fleet, self._id)
            subject = self._subject(newest.release, newest.sequence)
            self._progress.step(f"giving up {newest.release}: it was never decided")
            give_up(fleet, decision(subject, epoch, "abort", sorted(pending), self._sign))
            return Outcome(newest.release, newest.sequence, reason="given up: it was never decided")
        chosen = max(decided, key=lambda each: each.epoch)
        target = self._known(fleet, Live(chosen.release, chosen.sequence, "", ""), again=chosen.sequence)
        if target is None:
            raise MissingError(f"no host has the manifest of {chosen.release}", "deploy again")
        self._progress.step(f"finishing {chosen.release}: it was decided")
        names = sorted({*pending, *chosen.hosts} & {member.name for member in fleet.alive})
        work = self._deploying(fleet, target, names, tells=False)
        outcome = Outcome(chosen.release, chosen.sequence, target.commit, serving=work.run_at_once())
        outcome.failed = {member.name: member.error for member in fleet.members if member.error}
        return outcome

    def _deploying(self, fleet: Fleet, target: Release, names: Iterable[str], *,
                   tells: bool = True) -> Deploying:  # fmt: skip
        live = earlier.served(fleet)
        goes_back = live is not None and live.release != target.subject.release
        names, said = list(names), fleet.facts
        here = [name for name in names if name in said]
        return Deploying(
            fleet, self._environment, target, names, coordinator=self._id, sign=self._sign,
            progress=self._progress, together=self._settings.together(said, here) if tells else frozenset(),
            settings=self._settings.make(said, here, etcd_members(fleet)) if tells else None,
            previous=lambda: self._known(fleet, live) if live and goes_back else None,
        )  # fmt: skip

    def _chosen(self, fleet: Fleet, names: Iterable[str]) -> list[Member]:
        wanted = sorted(names)
        known = [member.name for member in fleet.members]
        for name in wanted:
            if name not in known:
                raise UsageError(
                    f"no host {name!r} in {self._environment.name}", f"there are: {', '.join(known)}"
                )
        lost = [member for member in fleet.lost if member.name in wanted]
        if lost:
            raise lost[0].error or UnreachableError(f"{lost[0].name} cannot be reached")
        return [member for member in fleet.alive if not wanted or member.name in wanted]

    def _check_pending(self, fleet: Fleet) -> None:
        for member in fleet.alive:
            # Where it failed, a newer release may take its place: that is how it is mended.
            if member.facts.pending is not None and not member.facts.pending.error:
                raise AmpzeroError(
                    f"{member.name}: the deploy of {member.facts.pending.release} was not finished "
                    f"({member.facts.pending.state.lower()})",
                    f"ampzero deploy {self._typed} --env {self._environment.name} --resume",
                )

    def _known(self, fleet: Fleet, live: Live, again: int = 0) -> Release | None:
        """A release that hosts have, with a new sequence (or `again` the same); nothing travels for it."""
        kept = earlier.kept_manifest(fleet, live.release, self._trusts)
        if kept is None:
            return None
        sequence = again or next_sequence(each.facts for each in fleet.alive)
        blobs = self._kept(fleet, kept.trees)
        return self._release(live.release, kept.commit, sequence, kept.trees, blobs, kept.compatible)

    def _kept(self, fleet: Fleet, trees: Mapping[str, Trees]) -> dict[str, Blob]:
        """Whole archives of what some host lacks and this machine still has."""
        have = self._blobs.tars()
        lacking = {
            tree.sha256 for member in fleet.alive for tree in trees.get(member.facts.platform, {}).values()
            if tree.name not in member.facts.trees and tree.sha256 in have
        }  # fmt: skip
        return {blob.sha256: blob for blob in map(self._blobs.full, sorted(lacking))}

    def _release(self, release: str, commit: str, sequence: int, trees: Mapping[str, Trees],
                 blobs: Mapping[str, Blob], compatible: bool = True) -> Release:  # fmt: skip
        # Back from a release that bears no other, or to one: the page is shown, and hosts must know it, too.
        both = compatible and self._environment.release.compatible
        subject = self._subject(release, sequence)
        signed = manifest(
            subject, self._environment, commit=commit, trees=trees, blobs=blobs.values(),
            secrets=secrets_name(self._folder, self._environment), sign=self._sign,
            compatible=both,
        )  # fmt: skip
        return Release(subject, commit, signed, blobs, both)

    def _subject(self, release: str, sequence: int) -> Subject:
        return Subject(self._instance.name, self._environment.name, release, sequence)
