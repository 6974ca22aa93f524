"""How long small commands take: the help, and the status of fifty processes."""

from __future__ import annotations

import random
import subprocess
import time
from statistics import median

from bench.measures.sleepers import COUNT
from bench.peers.peer import Peer
from bench.running import running

TIMES = 11


def seconds(argv: list[str], environment: dict[str, str]) -> float:
    """The median time of a command that must succeed. Raises: subprocess.CalledProcessError."""
    times = []
    for _ in range(TIMES):
        begun = time.monotonic()
        subprocess.run(argv, env=environment, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True)
        times.append(time.monotonic() - begun)
    return median(times)


def measure(peer: Peer) -> tuple[float, float]:
    """Seconds of `--help` and of the status of all processes, for a peer that has one. Raises: TooSlow."""
    argv = ("sleep", f"1000.{random.randrange(10**9, 10**10)}")  # noqa: S311 -- a name, not a secret
    with running(peer, argv, COUNT) as now:
        status = peer.status(now.job)
        assert status, "asked only of peers that have a status"
        time.sleep(0.5)  # what a supervisor does at its start is not part of what a command takes
        environment = now.environment()
        return seconds(peer.help(now.job), environment), seconds(status, environment)
