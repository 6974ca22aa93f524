"""The results as a page: the machine, the versions, the medians, and each target with what was measured."""

from __future__ import annotations

import os
import platform
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.measures.cold import Cold
from bench.measures.output import LINES, Output
from bench.measures.rolling import RATE, Rolling
from bench.measures.sleepers import COUNT, KILLS, MANY, ONE, Sleepers
from bench.peers.peer import Peer

OURS = "ampzero"
Row = tuple[str, ...]


@dataclass
class Results:
    """Everything that was measured, by the peer's name."""

    sleepers: dict[str, list[Sleepers]] = field(default_factory=lambda: defaultdict(list))
    output: dict[str, list[Output]] = field(default_factory=lambda: defaultdict(list))
    commands: dict[str, tuple[float, float]] = field(default_factory=dict)
    cold: list[Cold] = field(default_factory=list)
    rolling: list[Rolling] = field(default_factory=list)
    sizes: dict[str, dict[int, Sleepers]] = field(default_factory=lambda: defaultdict(dict))
    """At other numbers of children, by that number."""
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Something that the reader must know."""
        self.notes.append(" ".join(text.split()))

    def markdown(self, peers: list[Peer]) -> str:
        """The whole page."""
        parts = [
            "# Results of `make bench`",
            f"Made by the run of {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}; do not edit. "
            "How it is measured: [README.md](README.md).",
            f"Machine: {machine()}. Rounds: {max(map(len, self.sleepers.values()), default=0)}.",
            "Versions: " + ", ".join(f"{peer.name} {peer.version()}" for peer in peers) + ".",
            f"## {COUNT} sleeping children, and {LINES:,} lines of 100 bytes",
            table(SIDE_BY_SIDE, [self.side_by_side(peer.name) for peer in peers if self.sleepers[peer.name]]),
            "## In units of Ampify Zero (above 1: the other needs more)",
            table(RATIOS, self.ratios(peers)),
            f"## {ONE}, {COUNT} and {MANY} children",
            table(SIZES, [self.sizes_row(peer.name) for peer in peers if self.sizes[peer.name]]),
            "## Commands",
            table(
                ("", "`--help`, ms", f"status of {COUNT} processes, ms"),
                [(name, f"{help_ * 1000:.0f}", f"{status * 1000:.0f}")
                 for name, (help_, status) in self.commands.items()],
            ),
            "## A cold instance of all services",
            self.cold_text(),
            "## A rolling restart under load",
            self.rolling_text(),
            "## The targets",
            table(("what", "target", "measured", ""), self.targets()),
        ]  # fmt: skip
        if self.notes:
            parts += ["## To know", "\n".join(f"- {note}" for note in self.notes)]
        return "\n\n".join(parts) + "\n"

    def medians(self, name: str) -> dict[str, float | None]:
        """The peer's medians by column; None where there is nothing to measure."""
        rounds, output = self.sleepers[name], self.output[name]
        restarts = [took for each in rounds for took in each.restarts]
        return {
            "start": median(each.start for each in rounds),
            "restart": median(restarts) * 1000 if restarts else None,
            "rss": median(each.rss for each in rounds),
            "pss": median(each.pss for each in rounds),
            "idle": median(each.idle for each in rounds),
            "stop": median(each.stop for each in rounds),
            "left": max(each.left for each in rounds),
            "wall": median(each.wall for each in output) if output else None,
            "cpu": median(each.cpu for each in output) if output else None,
            "lost": max(LINES - each.lines for each in output) if output else None,
        }

    def side_by_side(self, name: str) -> Row:
        """The peer's line of the first table."""
        values = self.medians(name)
        return (name, *(shown(values[key], digits) for key, digits in COLUMNS.items()))

    def ratios(self, peers: list[Peer]) -> list[Row]:
        """Each other peer's medians divided by ours."""
        if not self.sleepers[OURS]:
            return []
        ours = self.medians(OURS)
        rows = []
        for peer in peers:
            if peer.name == OURS or not self.sleepers[peer.name]:
                continue
            theirs = self.medians(peer.name)
            rows.append((peer.name, *(ratio(theirs[key], ours[key]) for key in RATIO_KEYS)))
        return rows

    def at(self, name: str, count: int) -> dict[str, float | None]:
        """Start, restart (ms) and RSS of a peer at `count` children; None where it was not measured."""
        if count == COUNT and self.sleepers[name]:
            return self.medians(name)
        found = self.sizes[name].get(count)
        if found is None:
            return {"start": None, "restart": None, "rss": None}
        restart = median(found.restarts) * 1000 if found.restarts else None
        return {"start": found.start, "restart": restart, "rss": found.rss}

    def growth(self, name: str) -> float | None:
        """KB of RSS for each child more between COUNT and MANY."""
        few, many = self.at(name, COUNT)["rss"], self.at(name, MANY)["rss"]
        return None if few is None or many is None else (many - few) * 1000 / (MANY - COUNT)

    def sizes_row(self, name: str) -> Row:
        """The peer's line of the table of sizes."""
        values = [self.at(name, count) for count in (ONE, COUNT, MANY)]
        cells = [
            shown(value[key], digits)
            for key, digits in (("start", 2), ("restart", 1), ("rss", 0))
            for value in values
        ]
        return (name, *cells, shown(self.growth(name), 0))

    def rolling_text(self) -> str:
        """One sentence about the rolling restart."""
        if not self.rolling:
            return "Not measured."
        before, during, took = (
            median(getattr(each, key) for each in self.rolling) for key in ("before", "during", "restart")
        )
        requests, failed = (
            sum(getattr(each, key) for each in self.rolling) for key in ("requests", "failed")
        )
        return (
            f"The node runtime behind nginx under {RATE:g} https requests a second from loopback: "
            f"{failed} of {requests} requests failed; p99 {before * 1000:.1f} ms before and "
            f"{during * 1000:.1f} ms during the restarts ({during / before:.2f} times), each of which took "
            f"{took:.2f} s. {next((each.problem for each in self.rolling if each.problem), '')}"
        ).strip()

    def cold_text(self) -> str:
        """One sentence about the cold start."""
        if not self.cold:
            return "Not measured."
        ours, chain = (median(getattr(each, key) for each in self.cold) for key in ("run", "chain"))
        return (
            f"`ampzero run` returns, everything ready, after {ours:.2f} s; the slowest chain of the same "
            f"programs started by hand ({self.cold[0].words}) takes {chain:.2f} s: "
            f"{ours / chain:.2f} times that."
        )

    def targets(self) -> list[Row]:
        """Every target of the project with what this run measured."""
        if not self.sleepers[OURS]:
            return []
        values = self.medians(OURS)
        rows = [
            target(f"{COUNT} started, from the command's start", values["start"], 0.30, "s"),
            target("restart after SIGKILL, median", values["restart"], 6, "ms"),
            target("memory of the supervisor altogether (RSS)", values["rss"], 30, "MB"),
            target("idle processor time", values["idle"], 0.1, "%"),
            target("stop", values["stop"], 0.25, "s"),
            target("children left alive", values["left"], 0, ""),
            target("100 MB of output", values["wall"], 2, "s"),
            target("its processor time", values["cpu"], 1, "s"),
            target("lines lost", values["lost"], 0, ""),
        ]
        if OURS in self.commands:
            rows.append(target("`ampzero --help`", self.commands[OURS][0] * 1000, 120, "ms"))
            rows.append(target("`ampzero status`", self.commands[OURS][1] * 1000, 200, "ms"))
        if self.cold:
            times = median(each.run for each in self.cold) / median(each.chain for each in self.cold)
            rows.append(target("cold run, against the slowest chain by hand", times, 1.5, "times"))
        many = self.at(OURS, MANY)
        rows.append(target(f"{MANY} started", many["start"], 2, "s"))
        rows.append(target(f"restart after SIGKILL at {MANY}", many["restart"], 6, "ms"))
        rows.append(
            target(f"memory for each child more, from {COUNT} to {MANY}", self.growth(OURS), 30, "KB")
        )
        if self.rolling:
            failed = sum(each.failed for each in self.rolling)
            times = median(each.during / each.before for each in self.rolling)
            rows.append(target("requests that fail in a rolling restart", failed, 0, ""))
            rows.append(target("p99 during it, against before", times, 2, "times"))
        return rows


COLUMNS = {"start": 2, "restart": 1, "rss": 0, "pss": 0, "idle": 2, "stop": 2, "left": 0, "wall": 2, "cpu": 2,
           "lost": 0}  # fmt: skip
"""The columns of the first table, and their digits."""

SIDE_BY_SIDE = (
    "", "start all, s", f"restart after a kill, ms (median of {KILLS} a round)", "RSS, MB", "PSS, MB",
    "idle CPU, %", "stop, s", "left alive", "output, wall s", "output, own CPU s", "lines lost",
)  # fmt: skip
SIZES = (
    "", *(f"start of {n}, s" for n in (ONE, COUNT, MANY)),
    *(f"restart at {n}, ms" for n in (ONE, COUNT, MANY)),
    *(f"RSS at {n}, MB" for n in (ONE, COUNT, MANY)), "KB a child",
)  # fmt: skip
RATIO_KEYS = ("start", "restart", "rss", "pss", "stop", "wall", "cpu")
RATIOS = ("", "start", "restart", "RSS", "PSS", "stop", "output, wall", "output, own CPU")


def shown(value: float | None, digits: int) -> str:
    """A number for a table."""
    return "-" if value is None else f"{value:.{digits}f}"


def ratio(theirs: float | None, ours: float | None) -> str:
    """`theirs` in units of `ours`."""
    return "-" if theirs is None or not ours else f"{theirs / ours:.2f}"


def target(what: str, value: float | None, limit: float, unit: str) -> Row:
    """A line of the last table."""
    if value is None:
        return what, f"≤ {limit:g} {unit}", "-", "not measured"
    return (
        what,
        f"≤ {limit:g} {unit}".strip(),
        f"{value:.3g} {unit}".strip(),
        "yes" if value <= limit else "**no**",
    )


def table(head: Row, rows: list[Row]) -> str:
    """A table of Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> str:
    """Processor, memory, system, Python, and how busy it was."""
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")),
        platform.machine(),
    )  # fmt: skip
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return (
        f"{os.cpu_count()} × {model}, {memory:.0f} GB, {system}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load average at the end {os.getloadavg()[1]:.1f} over 5 minutes"
    )
