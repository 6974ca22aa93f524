"""The status of an instance as lines for a person."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lib.console import paint

COLOURS = {
    **dict.fromkeys(("ready", "completed", "scheduled"), "green"),
    **dict.fromkeys(("starting", "waiting", "backoff", "degraded", "stopping", "unready"), "yellow"),
    **dict.fromkeys(("failed", "gave-up"), "red"),
}

HEADINGS = ("PROCESS", "STATE", "PID", "UPTIME", "RESTARTS", "WHY")


def lines(status: dict[str, Any]) -> list[str]:
    """The lines: the instance, its processes as a table, and what it does not do."""
    head = f"{status['name']}  {coloured(status['state'], 0)}  {status['address']}".rstrip()
    rows = [_row(process) for service in status["services"] for process in service["processes"]]
    widths = [max(len(row[column]) for row in [HEADINGS, *rows]) for column in range(len(HEADINGS))]
    table = [_line(HEADINGS, widths, colour=False), *(_line(row, widths, colour=True) for row in rows)]
    # What runs from a Procfile or an amprun.yaml alone has no keys: a hub has nothing to say about it.
    signed = (Path(status["directory"]) / "ampnode/hub.public.key").exists()
    about = ("hub", "nat") if signed else ()
    notes = [f"{what}: {status[what]['state']} ({status[what]['why']})" for what in about]
    dropped = [
        f"{service['name']}: {service['dropped_lines']} lines of output were lost (is the disk full?)"
        for service in status["services"]
        if service["dropped_lines"]
    ]
    if status.get("unprinted_lines"):
        dropped.append(
            f"{status['unprinted_lines']} lines were not shown, the terminal is slow; the logs have them"
        )
    return [head, *table, *notes, *_certificate(status.get("certificate") or {}), *dropped]


def _certificate(found: dict[str, Any]) -> list[str]:
    """Whose certificate browsers are shown; nothing where it is the local CA's and all is well."""
    if not found or (found["source"] == "local" and not found["problem"]):
        return []
    names = ", ".join(found["names"]) or "no name"
    whose = {"local": "the local CA's", "files": "your own files", "acme": "by ACME"}[found["source"]]
    until = time.strftime("%Y-%m-%d", time.gmtime(found["expires"]))
    ends = "expired" if found["expires"] < time.time() else "until"
    problem = f" ({found['problem']})" if found["problem"] else ""
    return [f"certificate: {whose}, for {names}, {ends} {until}{problem}"]


def duration(seconds: float | None) -> str:
    """`seconds` in its largest one or two units: 59s, 3m 2s, 5h 1m, 2d 3h; empty for None."""
    if seconds is None:
        return ""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def coloured(state: str, width: int) -> str:
    """`state`, padded to `width`, in its colour where the terminal has colours."""
    text = state.ljust(width)
    return paint(text, COLOURS[state]) if state in COLOURS else text


def _row(process: dict[str, Any]) -> tuple[str, ...]:
    waits = f"waits for {', '.join(process['waits_for'])}" if process["waits_for"] else ""
    why = process["reason"] or waits or process.get("probe", "")
    return (
        process["name"], process["state"], str(process["pid"] or ""), duration(process["uptime"]),
        str(process["restarts"]), why,
    )  # fmt: skip


def _line(row: tuple[str, ...], widths: list[int], *, colour: bool) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
    if colour:
        cells[1] = coloured(row[1], widths[1])
    return "  ".join(cells).rstrip()
