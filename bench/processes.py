"""What /proc says about a job's processes: which are there, their memory, their processor time.

A job's processes are known by a variable of the environment that the start command got, its children by
their arguments; so a child is counted also when its supervisor is gone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "BENCH_OF_AMPZERO"


def pids() -> set[int]:
    """Every process id that is there now."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 -- the fast way


def read(pid: int, name: str) -> bytes:
    """A file of /proc/PID, empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def started(pid: int) -> float:
    """When `pid` started, in seconds since boot (CLOCK_BOOTTIME), to a hundredth; 0 when it is gone."""
    fields = read(pid, "stat").rpartition(b") ")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK") if len(fields) > 19 else 0.0


def children(argv: tuple[str, ...], among: set[int] | None = None) -> set[int]:
    """The processes that run `argv`, of `among` or of all; the program may stand there with its path."""
    wanted = b"".join(os.fsencode(word) + b"\0" for word in argv)
    lines = ((pid, read(pid, "cmdline")) for pid in (pids() if among is None else among))
    return {
        pid for pid, line in lines if line == wanted or (line[:1] == b"/" and line.endswith(b"/" + wanted))
    }


def carrying(token: str) -> set[int]:
    """The processes that have VARIABLE=token in their environment."""
    wanted = f"{VARIABLE}={token}".encode()
    return {pid for pid in pids() if wanted in read(pid, "environ").split(b"\0")}


@dataclass(frozen=True)
class Memory:
    """Sums over processes, in MB of 1,000,000 bytes. PSS shares out what several processes share."""

    rss: float
    pss: float


def memory(of: set[int]) -> Memory:
    """The memory of these processes together (smaps_rollup of proc(5))."""
    sums = {"Rss": 0, "Pss": 0}
    for pid in of:
        for line in read(pid, "smaps_rollup").decode().splitlines():
            key, _, value = line.partition(":")
            if key in sums:
                sums[key] += int(value.split()[0]) * 1024
    return Memory(rss=sums["Rss"] / 1e6, pss=sums["Pss"] / 1e6)


def cpu_seconds(of: set[int]) -> float:
    """Processor time of these processes' threads so far, from schedstat: finer than stat's ticks."""
    total = 0
    for pid in of:
        try:
            tasks = list(Path(f"/proc/{pid}/task").iterdir())
        except OSError:
            continue
        for task in tasks:
            try:
                total += int((task / "schedstat").read_bytes().split()[0])
            except OSError:
                continue
    return total / 1e9
