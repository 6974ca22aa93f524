"""The states of a process and which may follow which: one table, checked at every change."""

from __future__ import annotations

from typing import Literal

State = Literal[
    "waiting", "scheduled", "starting", "ready", "unready", "backoff", "stopping", "stopped", "completed",
    "failed", "gave-up",
]  # fmt: skip
"""waiting: for what it depends on. scheduled: for its time. starting: runs, not ready yet. unready: runs, was
ready, and its probe fails now. backoff: ended, will be started again.
completed: ended as it should and stays so. failed: ended badly and its policy is not to start it again.
gave-up: ended too often. stopped: by command."""

ALIVE: frozenset[State] = frozenset({"starting", "ready", "unready", "stopping"})
"""States in which there is an OS process."""

SETTLED: frozenset[State] = frozenset({"stopped", "completed", "failed", "gave-up"})
"""States that only a command leaves."""

ENDS: frozenset[State] = frozenset({"scheduled", "backoff", "stopping", "completed", "failed", "gave-up"})
"""What may follow a state in which there is an OS process, besides readiness."""

FOLLOWERS: dict[State, frozenset[State]] = {
    "stopped": frozenset({"waiting", "starting"}),
    "waiting": frozenset({"starting", "scheduled", "completed", "backoff", "failed", "gave-up", "stopped"}),
    "scheduled": frozenset({"starting", "waiting", "scheduled", "failed", "backoff", "stopped"}),
    "starting": ENDS | {"ready"},
    "ready": ENDS | {"unready"},
    "unready": ENDS | {"ready"},
    "backoff": frozenset({"starting", "scheduled", "backoff", "failed", "gave-up", "stopped"}),
    "stopping": frozenset({"stopped"}),
    "completed": frozenset({"waiting", "stopped"}),
    "failed": frozenset({"waiting", "stopped"}),
    "gave-up": frozenset({"waiting", "stopped"}),
}
"""From stopped straight to starting: a living process that is adopted."""


def check(before: State, after: State) -> State:
    """`after`, when it may follow `before`.

    Raises: ValueError, which is a mistake in the supervisor and never a user's.
    """
    if after not in FOLLOWERS[before]:
        raise ValueError(f"a process cannot go from {before} to {after}")
    return after
