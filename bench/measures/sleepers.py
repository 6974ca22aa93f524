"""So many children that sleep: how fast they start, come back, and go; what watching over them costs."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass, field

from bench import processes
from bench.peers.peer import Peer
from bench.running import Running, running, wait

COUNT = 50
"""Children of the side by side; also ONE and MANY are measured, for what grows with their number."""
ONE, MANY = 1, 500
KILLS = 6
"""A round; a minute's restarts stay below the ten after which a supervisor may well give up."""
FEW_KILLS = 5
"""For the other sizes."""
SETTLE = 1.5
"""Seconds after which a child counts as stable with every peer (supervisord's startsecs is 1)."""
IDLE = 5.0


@dataclass
class Sleepers:
    """One round's figures of one peer."""

    start: float
    """Seconds from the command to the last child."""
    rss: float
    pss: float
    idle: float
    """Per cent of one processor."""
    stop: float
    left: int
    restarts: list[float] = field(default_factory=list)
    """Seconds from SIGKILL to the new child's being there."""


def measure(peer: Peer, count: int = COUNT, kills: int = KILLS, idle: float = IDLE) -> Sleepers:
    """One round: `count` children, `kills` of them killed, `idle` seconds of nothing. Raises: TooSlow."""
    # The fraction makes the arguments of this round's children its own.
    argv = ("sleep", f"1000.{random.randrange(10**9, 10**10)}")  # noqa: S311 -- a name, not a secret
    with running(peer, argv, count) as now:
        time.sleep(SETTLE)
        used = processes.memory(now.supervisors())
        used_cpu = idle_cpu(now, idle)
        restarts = [restart(now) for _ in range(kills)] if peer.restarts else []
        stop, left = now.stop()
        return Sleepers(now.started_after, used.rss, used.pss, used_cpu, stop, left, restarts)


def idle_cpu(now: Running, seconds: float) -> float:
    """The supervisor's processor time while nothing happens, in per cent."""
    supervisors = now.supervisors()
    before = processes.cpu_seconds(supervisors)
    if not seconds:
        return 0.0
    begun = time.monotonic()
    time.sleep(seconds)
    return 100 * (processes.cpu_seconds(supervisors) - before) / (time.monotonic() - begun)


def restart(now: Running) -> float:
    """Kill a child that has been there for long, and wait for the new one."""
    before = now.children()
    victim = min(before)
    known = processes.pids()
    begun = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    took = wait(lambda: bool(processes.children(now.job.argv, processes.pids() - known)), "restart") - begun
    wait(lambda: len(now.children()) == now.job.count, "restart")
    return took
