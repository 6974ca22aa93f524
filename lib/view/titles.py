"""The two lines of words of the view: its head, and the title of the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from lib.logs.record import unix
from lib.statusview import duration
from lib.view.lines import Lines
from lib.view.model import STATE_STYLES, Row


def head(name: str, status: Mapping[str, Any], lost: float | None, width: int) -> Text:
    """The instance, its state, since when; `lost`: seconds since its supervisor ended, None while it runs."""
    text = Text(f" {name}", no_wrap=True, overflow="ellipsis", end="")
    if lost is not None:
        text.append("  not running  ", "bold red")
        text.append(f"its supervisor ended {duration(lost)} ago; ampzero run brings it back", "not bold")
        return text
    if not status:
        return text.append("  connecting …")
    text.append(f"  {status['state']}", STATE_STYLES.get(status["state"], ""))
    try:
        import time

        up = f"up {duration(max(0.0, time.time() - unix(status['since'])))}"
    except ValueError:
        up = ""
    end = "  ".join(word for word in (status["address"], up) if word)
    room = width - len(text.plain) - len(end) - 1
    if room >= 2:
        text.append(" " * room + end, "not bold")
    return text


def log_title(row: Row | None, *, log: bool, paused: bool, at_end: bool, lines: Lines, width: int) -> Text:
    """A rule with what is below it, and how that is shown."""
    if not log:
        name, how = "who waits for whom", "b: back to the log"
    else:
        name = row.label.strip() if row else ""
        if row and row.service and row.why:
            name += f": {row.state}, {row.why}"
        how = "paused (p)" if paused else "following" if at_end else "scrolled (End follows)"
        if lines.filter:
            how = f"only {lines.filter!r} ({len(lines.shown)}), {how}"
        if lines.search:
            how = f"search {lines.search!r}, {how}"
    room = width - len(how) - 8
    if len(name) > room:
        name = name[: max(0, room - 1)] + "…"
    text = Text("── ", "bright_black", no_wrap=True, end="")
    text.append(name, "not dim default")
    fill = max(1, width - len(name) - len(how) - 8)
    text.append(f" {'─' * fill} ").append(how, "yellow" if paused or lines.filter else "").append(" ─")
    return text
