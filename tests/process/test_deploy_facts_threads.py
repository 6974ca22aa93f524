"""Facts of many hosts arrive at once, in threads of a process that has read none before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys, threading
from deploy.facts import facts
live = {"release": "a", "sequence": 1, "ampify": "b", "instance": "c"}
said = {"platform": "p", "python": "3", "user": "u", "clock": 1.0, "disk_free": 1, "current": live,
        "pending": {"state": "STAGED", "epoch": 1, "sequence": 1, "release": "x"}}
barrier = threading.Barrier(12)
sys.setswitchinterval(1e-6)

def work():
    barrier.wait()
    facts(said, "host")

threads = [threading.Thread(target=work) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def test_the_first_facts_that_threads_read_at_once_do_not_crash_the_process() -> None:
    for _ in range(10):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=Path(__file__).parents[2], capture_output=True, timeout=60
        )
        assert done.returncode == 0, done
