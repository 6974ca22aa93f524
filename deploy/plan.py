"""What a deploy would do: which host gets what, in which order. Pure, printable, comparable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deploy.config import Canary
from deploy.facts import Facts
from deploy.release import Tree

KINDS = ("ampify", "instance")
"""The trees of a release."""
Trees = Mapping[str, Tree]
"""The trees of one platform, by kind."""


@dataclass(frozen=True)
class Send:
    """One tree that a host lacks. `old` is the SHA-256 of the tar that a patch would start from, or empty."""

    kind: str
    new: str
    old: str
    unpacked: int


@dataclass(frozen=True)
class HostPlan:
    """One host: what it serves now, and what it must be sent."""

    name: str
    platform: str
    before: str
    sends: tuple[Send, ...]
    up_to_date: bool
    told: bool = False
    """Whether it gets certificates or a list of services that are its own (deploy/settings.py)."""

    @property
    def room(self) -> int:
        """Bytes that its disk needs at most: tar and tree, and what travels."""
        return sum(3 * send.unpacked for send in self.sends)


@dataclass(frozen=True)
class Plan:
    """A whole deploy. `waves` are names of hosts: the canary first where there is one. `left_out` are hosts
    that it was for, and that cannot be reached or used."""

    release: str
    sequence: int
    commit: str
    compatible: bool
    hosts: tuple[HostPlan, ...]
    waves: tuple[tuple[str, ...], ...]
    min_ready: int
    left_out: tuple[str, ...] = ()

    def host(self, name: str) -> HostPlan:
        """The plan of one host."""
        return next(host for host in self.hosts if host.name == name)

    @property
    def is_nothing(self) -> bool:
        """Whether every host serves the release already."""
        return all(host.up_to_date for host in self.hosts)


def plan_host(name: str, facts: Facts, release: str, trees: Trees, have: frozenset[str],
              secrets: str = "", *, told: bool = False) -> HostPlan:  # fmt: skip
    """What the host `name` needs. `have`: SHA-256 of the tars that patches can be made from here; `secrets`:
    the name of what it should have of them; `told`: it is to be told something that is its own.
    """
    sends = []
    live = facts.current
    for kind in KINDS:
        tree = trees[kind]
        if tree.name in facts.trees:
            continue
        old = live.tars.get(kind, "") if live else ""
        usable = facts.zstd and old in facts.tars and old in have
        sends.append(Send(kind, tree.sha256, old if usable else "", tree.size))
    before = live.release if live else ""
    is_same = live is not None and (live.release, live.secrets) == (release, secrets)
    done = is_same and facts.state == "open" and facts.pending is None and not sends and not told
    return HostPlan(name, facts.platform, before, tuple(sends), done, told)


def waves(names: Sequence[str], canary: Canary | None,
          together: frozenset[str] = frozenset()) -> tuple[tuple[str, ...], ...]:  # fmt: skip
    """The hosts in the order in which they switch: the canary's, then its share of all, then the others.

    There is no canary where some can only begin `together`.
    """
    left = list(names)
    sizes = []
    if together & set(names):
        canary = None
    if canary is not None and len(left) > canary.hosts:
        sizes.append(canary.hosts)
        share = -(-len(names) * canary.percent // 100)
        if share > canary.hosts:
            sizes.append(share - canary.hosts)
    found = []
    for size in sizes:
        found.append(tuple(left[:size]))
        left = left[size:]
    return (*found, tuple(left)) if left else tuple(found)


def next_sequence(all_facts: Iterable[Facts]) -> int:
    """One more than any host has seen."""
    seen = (max(facts.sequence, facts.pending.sequence if facts.pending else 0) for facts in all_facts)
    return 1 + max(seen, default=0)


def next_epoch(all_facts: Iterable[Facts]) -> int:
    """One more than any host has promised."""
    seen = (max(facts.promised, facts.pending.epoch if facts.pending else 0) for facts in all_facts)
    return 1 + max(seen, default=0)


def majority(hosts: int) -> int:
    """How many of `hosts` are more than half."""
    return hosts // 2 + 1
