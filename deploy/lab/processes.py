"""The processes of hosts, found by their network namespace: no pid is kept anywhere, so none can be stale."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from deploy.lab.network import NAMESPACES
from lib.errors import LeftoverError

DEADLINE = 10.0
"""Seconds for killed processes to be gone."""


def inside(namespaces: Iterable[str]) -> dict[str, list[int]]:
    """The pids of all processes in each of these network namespaces, which need not be there."""
    machine = _number(Path("/proc/self/ns/net"))
    by_number = {_number(NAMESPACES / name): name for name in namespaces}
    found: dict[str, list[int]] = {name: [] for name in by_number.values()}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            number = _number(entry / "ns/net")
            if number and number != machine and number in by_number:
                found[by_number[number]].append(int(entry.name))
    return found


def first(pids: Iterable[int]) -> int:
    """The one of `pids` that is process 1 of its own pid namespace; 0 when none is."""
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
        if len(numbers) > 1 and numbers[-1] == "1":
            return pid
    return 0


def kill_all(namespaces: Iterable[str]) -> None:
    """SIGKILL everything in these namespaces, and wait until it is gone.

    Raises: LeftoverError.
    """
    names = list(namespaces)
    deadline = time.monotonic() + DEADLINE
    while left := {name: pids for name, pids in inside(names).items() if pids}:
        if time.monotonic() > deadline:
            words = ", ".join(f"{name}: {' '.join(map(str, pids))}" for name, pids in left.items())
            raise LeftoverError(f"processes of the lab do not end: {words}", "see /proc/PID/stack")
        for name, pids in left.items():
            for pid in pids:
                _kill(pid, name)
        time.sleep(0.01)


def _kill(pid: int, namespace: str) -> None:
    """SIGKILL `pid` when it still is in that namespace: the descriptor holds on to the process meanwhile."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if _number(Path(f"/proc/{pid}/ns/net")) == _number(NAMESPACES / namespace) != 0:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def _number(path: Path) -> int:
    """The namespace's own number, by which the kernel tells it from others; 0 when it is not there."""
    try:
        facts = path.stat()
    except OSError:
        return 0
    return facts.st_ino
