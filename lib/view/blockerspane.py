"""Who waits for whom, as a widget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from lib.view import blockers
from lib.view.model import STATE_STYLES


class BlockersPane(VerticalScroll):
    """The tree of lib.view.blockers; scrolls where it is long."""

    def compose(self) -> ComposeResult:
        """One text."""
        yield Static(id="tree", markup=False)

    def show_status(self, status: Mapping[str, Any]) -> None:
        """Show the tree of this status; an empty one when nothing is known yet."""
        text = Text()
        knots = blockers.tree(status) if status else []
        if not knots:
            text.append("Nothing waits: every service has what it needs.", "bright_black")
        widest = max((len(knot.branch + knot.name) for knot in knots), default=0)
        for knot in knots:
            text.append(f" {knot.branch}", "bright_black").append(knot.name, "bold")
            text.append(" " * (widest - len(knot.branch + knot.name) + 2))
            text.append(f"{knot.state:<10}", STATE_STYLES.get(knot.state, "")).append(f" {knot.why}\n")
        self.query_one("#tree", Static).update(text)
