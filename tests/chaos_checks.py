"""What must hold of an instance whenever it has come to rest, whatever was done to it before."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from running_support import Running, alive, carrying

from lib.logs.record import parse
from lib.logs.segment import open_segment
from lib.logs.segments import firsts
from lib.supervisor import tree

Status = dict[str, Any]


def orphans(status: Status) -> Iterator[str]:
    """Processes with the instance's mark that belong to no child that the status names."""
    current = {}
    for service in status["services"]:
        for process in service["processes"]:
            if process["pid"]:
                marks = [m for m in tree.environ(process["pid"]) if m.startswith(b"AMPZERO_SPAWN=")]
                current[marks[0] if marks else b""] = process["name"]
    for pid in carrying(f"AMPZERO_VAR={status['var']}"):
        mark = next((m for m in tree.environ(pid) if m.startswith(b"AMPZERO_SPAWN=")), b"")
        if mark not in current and alive(pid):
            yield f"orphan: pid {pid} {mark.decode()} ({tree.command_line(pid)})"


def twins(status: Status) -> Iterator[str]:
    """Two leaders of one process: each has the mark's first pid as its session."""
    leaders: dict[bytes, list[int]] = {}
    for pid in carrying(f"AMPZERO_VAR={status['var']}"):
        line = tree.entry(pid)
        if line is not None and line.session == pid and b"chaos_app.py" in _argv(pid):
            name = next((m for m in tree.environ(pid) if m.startswith(b"AMPZERO_PROCESS=")), b"")
            leaders.setdefault(name, []).append(pid)
    for name, pids in leaders.items():
        if len(pids) > 1:
            yield f"twins: {name.decode()} is {pids}"


def pipes(status: Status) -> Iterator[str]:
    """Named pipes of children that are gone, and missing ones."""
    folder = Path(status["var"]) / "run/output"
    there = {path.name.rpartition("-")[0] for path in folder.iterdir()}
    wanted = {p["name"] for s in status["services"] for p in s["processes"] if p["pid"]}
    for name in wanted - there:
        yield f"no pipe of {name}, which lives"
    count = len(list(folder.iterdir()))
    if count > 2 * len(wanted):
        yield f"{count} pipes of {len(wanted)} processes"


def sequences(var: Path) -> Iterator[str]:
    """Gaps between log segments, and lines that are no records."""
    for folder in (var / "logs").iterdir():
        following = None
        for first in firsts(folder):
            segment = open_segment(folder, first)
            if segment is None:
                continue
            lines = segment.peek(segment.size(), 0).split(b"\n")
            segment.close()
            if following is not None and first != following:
                yield f"{folder.name}: a segment begins at {first}, the one before ended at {following}"
            if lines[-1]:
                yield f"{folder.name}: {first}: an unfinished record {lines[-1][:80]!r}"
            following = first + len(lines) - 1
            for index, line in enumerate(lines[:-1]):
                if parse(line) is None:
                    yield f"{folder.name}: record {first + index} is garbage: {line[:80]!r}"


def numbering(one: Running, service: str, gaps: int) -> Iterator[str]:
    """Lines of a child that are missing, doubled or out of order.

    A supervisor that is killed between reading and writing takes a block along: so many `gaps` are fair.
    """
    last: dict[bytes, int] = {}
    holes = []
    for line in one.output(service):
        words = line.rsplit(b" ", 1)
        if len(words) != 2 or not words[1].isdigit():
            continue
        who, number = words[0], int(words[1])
        before = last.get(who)
        if before is not None and number <= before:
            yield f"{service}: {who.decode()}: {number} after {before}"
        if before is not None and number > before + 1:
            holes.append(f"{who.decode()}: {before} -> {number}")
        last[who] = number
    if len(holes) > gaps:
        yield f"{service}: {len(holes)} gaps, {gaps} kills of the supervisor: {holes[:5]}"


def tracebacks(var: Path) -> Iterator[str]:
    """What the supervisor's process printed: nothing is what it should."""
    with suppress(FileNotFoundError):
        said = (var / "run/supervisor.err").read_text(errors="replace").strip()
        if said:
            yield f"supervisor.err: {said[-1500:]}"


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def open_ports(ports: set[int]) -> Iterator[str]:
    """Ports that somebody still listens on."""
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                yield f"port {port} is open"


def _argv(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
