"""What the table of the view shows: rows made from a status. No terminal, no Textual."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lib.statusview import duration

EVERYTHING = ""
"""The key of the first row, which stands for all services."""

GOOD = frozenset({"ready", "completed", "scheduled", "running"})
"""States that need nobody's attention."""

STATE_STYLES = {
    **dict.fromkeys(("ready", "completed", "scheduled", "running"), "green"),
    **dict.fromkeys(("starting", "waiting", "backoff", "degraded", "stopping", "unready"), "yellow"),
    **dict.fromkeys(("failed", "gave-up", "lost"), "bold red"),
    "stopped": "bright_black",
}
"""How a state looks, in the sixteen colours that every terminal has and its user chose."""


@dataclass(frozen=True)
class Row:
    """One line of the table: everything, a service, or one process of a service that has several.

    `key` is what a command is given: "" (everything), `web` or `web.2`. `cpu` in percent of one core,
    `memory` in bytes, `uptime` in seconds; None where there is no process.
    """

    key: str
    label: str
    service: str
    number: int
    state: str
    pid: int | None
    cpu: float | None
    memory: int | None
    restarts: int
    uptime: float | None
    why: str
    processes: int = 1


def rows(status: Mapping[str, Any]) -> list[Row]:
    """The table's rows: everything first, then each service, and below it its processes if it has several.

    `status` as lib.control.stats.fill leaves it, or without cpu and memory.
    """
    found: list[Row] = []
    for service in status["services"]:
        processes = service["processes"]
        parts = [_process_row(service, process) for process in processes]
        if len(parts) == 1:
            found.append(_renamed(parts[0], service["name"]))
            continue
        found.append(_service_row(service, parts))
        found += parts
    leaders = [row for row in found if row.pid is not None]
    good = sum(process["state"] in GOOD for service in status["services"] for process in service["processes"])
    every = sum(len(service["processes"]) for service in status["services"])
    total = Row(
        key=EVERYTHING, label="everything", service="", number=0, state=status["state"], pid=None,
        cpu=_sum([row.cpu for row in leaders]), memory=_whole(_sum([row.memory for row in leaders])),
        restarts=sum(service["restarts"] for service in status["services"]),
        uptime=None, why=f"{good} of {every} are well", processes=every,
    )  # fmt: skip
    return [total, *found]


def _process_row(service: Mapping[str, Any], process: Mapping[str, Any]) -> Row:
    waits = f"waits for {', '.join(process['waits_for'])}" if process["waits_for"] else ""
    adopted = "taken back after a crash of the supervisor" if process.get("adopted") else ""
    facts = [process["reason"] or waits or adopted, service.get("schedule") or "", service.get("probe") or ""]
    return Row(
        key=process["name"], label=f"  {process['name']}", service=service["name"], number=process["number"],
        state=process["state"], pid=process["pid"], cpu=process.get("cpu"),
        memory=process.get("memory"), restarts=process["restarts"], uptime=process["uptime"],
        why="; ".join(fact for fact in facts if fact),
    )  # fmt: skip


def _renamed(row: Row, service: str) -> Row:
    values = {**row.__dict__, "key": service, "label": service, "number": 0}
    return Row(**values)


def _service_row(service: Mapping[str, Any], parts: list[Row]) -> Row:
    name = service["name"]
    return Row(
        key=name, label=name, service=name, number=0, state=service["state"], pid=None,
        cpu=_sum([part.cpu for part in parts]), memory=_whole(_sum([part.memory for part in parts])),
        restarts=service["restarts"], uptime=None,
        why=service["reason"] or service.get("schedule") or service.get("probe") or "", processes=len(parts),
    )  # fmt: skip


def _sum(values: list[float | None] | list[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def size(memory: int | None) -> str:
    """Bytes in at most five characters: 812K, 34M, 1.2G; empty for None."""
    if memory is None:
        return ""
    if memory < 1 << 20:
        return f"{memory >> 10}K"
    if memory < 1 << 30:
        return f"{memory >> 20}M"
    return f"{memory / (1 << 30):.1f}G"


def percent(cpu: float | None) -> str:
    """Percent of one core in at most five characters; empty for None."""
    if cpu is None:
        return ""
    return f"{cpu:.1f}%" if cpu < 10 else f"{cpu:.0f}%"


@dataclass(frozen=True)
class Column:
    """One column of the table. `right`: numbers stand at its right edge."""

    heading: str
    right: bool = False

    def cell(self, row: Row) -> str:
        """What stands in this column for `row`."""
        return CELLS[self.heading](row)


CELLS: dict[str, Callable[[Row], str]] = {
    "SERVICE": lambda row: row.label,
    "STATE": lambda row: row.state,
    "PID": lambda row: str(row.pid or ""),
    "CPU": lambda row: percent(row.cpu),
    "MEM": lambda row: size(row.memory),
    "RESTARTS": lambda row: str(row.restarts) if row.restarts else "",
    "UPTIME": lambda row: duration(row.uptime),
    "WHY": lambda row: row.why,
}

COLUMNS = (
    Column("SERVICE"), Column("STATE"), Column("CPU", right=True), Column("MEM", right=True),
    Column("RESTARTS", right=True), Column("UPTIME", right=True), Column("PID", right=True), Column("WHY"),
)  # fmt: skip

GIVEN_UP = ("PID", "RESTARTS", "UPTIME", "CPU", "MEM")
"""Columns that go, in this order, where the terminal is too narrow for all."""

WHY_LEAST = 20
"""Characters that the last column shall have at least, while others can be given up for it."""
LABEL_MOST = 24
GAP = 2
WIDTHS = {"SERVICE": 12, "STATE": 9, "CPU": 5, "MEM": 5, "RESTARTS": 8, "UPTIME": 7, "PID": 7}
"""Least widths, so that the columns stand still while the numbers change."""


def layout(shown: list[Row], width: int) -> list[tuple[Column, int]]:
    """The columns that fit into `width` characters and their widths; the last one takes what is left."""
    columns = [column for column in COLUMNS if column.heading != "WHY"]
    widths = {
        column.heading: max(WIDTHS[column.heading], *(len(column.cell(row)) for row in shown), 0)
        for column in columns
    }
    widths["SERVICE"] = min(widths["SERVICE"], max(LABEL_MOST, width // 4))
    least = min(WHY_LEAST, max((len(row.why) for row in shown), default=0))
    for name in GIVEN_UP:
        if sum(widths[column.heading] + GAP for column in columns) + least <= width:
            break
        columns = [column for column in columns if column.heading != name]
    left = width - sum(widths[column.heading] + GAP for column in columns)
    sized = [(column, widths[column.heading]) for column in columns]
    return [*sized, (COLUMNS[-1], left)] if left >= 4 else sized
