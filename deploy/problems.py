"""What stands in a deploy's way on a host: pure judgements of its facts."""

from __future__ import annotations

from collections.abc import Iterable

from deploy.facts import Facts
from lib.errors import AmpzeroError, MissingError, RefusedError, StorageError, TakenError

MAX_SKEW = 300.0
"""Seconds that a host's clock may differ: beyond it expiry dates mean nothing."""
ROOM = 64 * 1024 * 1024
"""Bytes that stay free on a host's disk beside what a deploy needs."""


def problem(name: str, facts: Facts, *, instance: str, environment: str, skew: float, tools: Iterable[str],
            typed: str, root: str) -> AmpzeroError | None:  # fmt: skip
    """Why the host `name` cannot be deployed to, None where nothing is in the way.

    `skew` is in seconds, `tools` are the programs that the instance needs, `typed` is what the user writes
    to have a host set up, `root` the folder on the host.
    """
    if facts.root_exists and not facts.ours:
        return TakenError(
            f"{name}: {root} is there and is not ours",
            "move it away, or choose another root: in deployment.yaml",
        )
    if not facts.root_exists:
        return MissingError(f"{name}: the host is not set up", typed)
    if (facts.instance, facts.environment) != (instance, environment):
        return TakenError(
            f"{name}: {root} belongs to {facts.instance} ({facts.environment})",
            "give this environment another root: in deployment.yaml",
        )
    if abs(skew) > MAX_SKEW:
        ahead = "ahead of" if skew > 0 else "behind"
        return RefusedError(
            f"{name}: its clock is {_span(abs(skew))} {ahead} ours",
            "set the clock (timedatectl set-ntp true)",
        )
    missing = [tool for tool in tools if tool not in facts.tools]
    if missing:
        return MissingError(f"{name}: {', '.join(missing)} is missing", typed)
    return None


def no_room(name: str, facts: Facts, needed: int) -> AmpzeroError | None:
    """Why `needed` bytes do not fit on the host, None where they do."""
    if facts.disk_free >= needed + ROOM:
        return None
    free, wanted = facts.disk_free // 1_000_000, (needed + ROOM) // 1_000_000
    return StorageError(
        f"{name}: {free} MB are free and {wanted} MB are needed",
        "free some space on the host",
    )


def _span(seconds: float) -> str:
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 172800 else f"{seconds / 86400:.0f} days"
