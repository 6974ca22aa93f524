"""A million lines of 100 bytes from one child into the log: how long, and what it costs the supervisor."""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.peers.peer import Job, Peer
from bench.running import running, wait

LINES = 1_000_000
LAST = b"the last line of them all"


@dataclass
class Output:
    """`wall` and `cpu` in seconds, from the first byte to the last one in the log; lines that are in it."""

    wall: float
    cpu: float
    lines: int


def write_lines(path: Path) -> None:
    """LINES lines of 100 bytes, all different."""
    with path.open("wb") as file:
        for number in range(LINES - 1):
            file.write(b"line %-94d\n" % number)
        file.write(b"line " + LAST.ljust(94) + b"\n")


def measure(peer: Peer) -> Output:
    """One round: the child waits at a pipe, writes everything at once, and stays. Raises: TooSlow."""
    with tempfile.TemporaryDirectory(prefix="ab") as name:
        source, gate = Path(name) / "lines", Path(name) / "gate"
        write_lines(source)
        os.mkfifo(gate)
        work = f"read go < {shlex.quote(str(gate))}; cat {shlex.quote(str(source))}; read go < {gate}"
        with running(peer, ("sh", "-c", work), 1) as now:
            time.sleep(0.5)  # the start is over then, and costs nothing of what is measured
            supervisors = now.supervisors()
            before = processes.cpu_seconds(supervisors)
            begun = time.monotonic()
            gate.write_text("\n")
            wall = wait(lambda: finished(now.job), "output", 90) - begun
            cpu = processes.cpu_seconds(supervisors) - before
            return Output(wall, cpu, count_lines(now.job))


def log_files(job: Job) -> list[Path]:
    """The files of the log, those written to last at the end."""
    files = [path for path in job.logs.iterdir() if path.is_file()]
    return sorted(files, key=lambda path: path.stat().st_mtime_ns)


def finished(job: Job) -> bool:
    """Whether the last line is in the log."""
    for path in log_files(job)[-2:]:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 400))
            if LAST in file.read():
                return True
    return False


def count_lines(job: Job) -> int:
    """How many of the lines are in the log."""
    total = 0
    for path in log_files(job):
        with path.open("rb") as file:
            total += sum(b"line " in line for line in file)
    return total
