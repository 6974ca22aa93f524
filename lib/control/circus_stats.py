"""What circus says of processes: the entries of `stats` and `dstats`, and the `stat.*` topics of circus-top.

The keys are circus 0.19's (its docs, commands/stats, and what circus-top reads); the numbers are lib/control/
stats.py's. Owns no socket.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lib.control.stats import TICKS, Line, Meter, Table, boot_time, total_memory

UNITS = ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"))


def size(count: int) -> str:
    """`count` bytes as circus writes them: 512B, 12.50M."""
    return next((f"{count / unit:.2f}{letter}" for unit, letter in UNITS if count >= unit), f"{count}B")


def user(pid: int) -> str:
    """The name of the user that `pid` runs as, its number when it has none."""
    import pwd

    try:
        uid = Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return "N/A"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def program(pid: int) -> str:
    """The last part of the path of the program that `pid` runs, from its argv."""
    with suppress(OSError):
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as stream:  # noqa: PTH123 -- no buffer of 8 KiB each
            first = stream.read(4096).split(b"\0", 1)[0]
        return first.decode(errors="replace").rpartition("/")[2] or "N/A"
    return "N/A"


class CircusStats:
    """One moment of the process table, in circus's words."""

    def __init__(self, meter: Meter) -> None:
        self._table = Table()
        self._meter = meter
        self._boot = boot_time()
        self._memory = total_memory()
        self._uptime = time.clock_gettime(time.CLOCK_BOOTTIME)

    def info(self, pid: int, wid: int | None = None, *, children: bool = True) -> dict[str, Any] | None:
        """The entry of one process, with those below it; None when it is gone. `wid` is its number."""
        line = self._table.lines.get(pid)
        if line is None:
            return None
        started = self._boot + line.started / TICKS
        found: dict[str, Any] = {
            **self._use(line), "mem_info1": size(line.memory), "mem_info2": size(line.virtual),
            "ctime": f"{int(line.cpu) // 60}:{int(line.cpu) % 60:02d}.{int(line.cpu * 100) % 100:02d}",
            "pid": pid, "username": user(pid), "nice": line.nice, "cmdline": program(pid),
            "create_time": started, "children": [],
        }  # fmt: skip
        if children:
            below = [each for each in self._table.members(pid) if each != pid]
            found["children"] = [each for other in below if (each := self.info(other, children=False))]
        if wid is not None:
            found.update(wid=wid, started=started)
        return found

    def topics(self, name: str, pids: dict[int, str | None]) -> Iterator[tuple[str, bytes]]:
        """The `stat.` topics of one watcher: each process with what it is called (or None), then all."""
        found: list[dict[str, Any]] = []
        for pid, called in pids.items():
            line = self._table.lines.get(pid)
            if line is not None:
                found.append({**self._use(line), "pid": pid, "subtopic": pid, "name": called})
                yield f"stat.{name}.{pid}", json.dumps(found[-1]).encode()
        if found:
            everything = {
                "pid": [each["pid"] for each in found], "age": max(each["age"] for each in found),
                "cpu": sum(each["cpu"] for each in found) / len(found),
                "mem": sum(each["mem"] for each in found),
            }  # fmt: skip
            yield f"stat.{name}", json.dumps(everything).encode()

    def _use(self, line: Line) -> dict[str, Any]:
        cpu = self._meter.percent(line.pid, line.started, line.cpu)
        return {
            "cpu": round(cpu, 1), "mem": round(line.memory / self._memory * 100, 3),
            "age": max(0.0, self._uptime - line.started / TICKS),
        }  # fmt: skip
