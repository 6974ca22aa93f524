"""What the hosts have of earlier releases: which they serve, which they had before, what they remember."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.facts import Live
from deploy.fleet import Fleet
from deploy.plan import Trees
from deploy.release import Tree
from lib.errors import AmpzeroError

ASK_TIME = 15.0


Trusts = Callable[[bytes, str], bool]
"""Whether a signature on some bytes is the user's."""


@dataclass(frozen=True)
class Kept:
    """What the manifest of a release that hosts still have says of it."""

    commit: str
    compatible: bool
    trees: Mapping[str, Trees]


def served(fleet: Fleet) -> Live | None:
    """The release that most hosts serve."""
    return _most(member.facts.current for member in fleet.alive)


def before(fleet: Fleet) -> Live | None:
    """The release that was healthy on most hosts before the one that they serve."""
    return _most(member.facts.previous for member in fleet.alive)


def named(fleet: Fleet, beginning: str) -> Live | None:
    """A release that some host has, by the beginning of its name."""
    lives = [live for member in fleet.alive for live in (member.facts.previous, member.facts.current)]
    return next((live for live in lives if live and live.release.startswith(beginning)), None)


def kept_manifest(fleet: Fleet, release: str, trusts: Trusts) -> Kept | None:
    """The manifest of a release, of the first host that has it with a good signature.

    What it says will be signed anew: a host that lies must not get the user's signature for it.
    """
    for member in fleet.alive:
        try:
            answer = member.call("manifest", timeout=ASK_TIME, release=release)
            if not trusts(str(answer["manifest"]).encode(), str(answer["signature"])):
                continue
            old: dict[str, Any] = json.loads(answer["manifest"])
            if old["release"] != release:
                continue
            trees = {
                platform: {kind: Tree(kind=kind, tar=Path(), **found) for kind, found in kinds.items()}
                for platform, kinds in old["trees"].items()
            }
            return Kept(str(old["commit"]), bool(old["compatible"]), trees)
        except (AmpzeroError, ValueError, TypeError, KeyError, AttributeError):
            continue
    return None


def history(fleet: Fleet) -> list[dict[str, Any]]:
    """The deploys that hosts remember, the newest first; each host may have missed some."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    said = fleet.each(fleet.alive, lambda member: member.call("history", timeout=ASK_TIME))
    for answer in said.values():
        for entry in answer.get("deploys", []):
            found[(entry["sequence"], entry["time"])] = entry
    return [found[key] for key in sorted(found, reverse=True)]


def _most(found: Iterable[Live | None]) -> Live | None:
    lives = [live for live in found if live]
    counts = Counter(live.release for live in lives)
    return max(lives, key=lambda live: (counts[live.release], live.sequence), default=None)
