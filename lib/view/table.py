"""The table of services and processes, as a widget."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from lib.view.model import GAP, STATE_STYLES, Row, layout

HEAD = 1
"""Lines of the heading, which does not scroll."""


class ProcessTable(ScrollView, can_focus=True):
    """Rows with one of them selected; the selection follows its row when rows come and go."""

    DEFAULT_CSS = """
    ProcessTable { overflow-x: hidden; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("home,g", "move(-100000)", "first", show=False),
        Binding("end,G", "move(100000)", "last", show=False),
    ]

    class Selected(Message):
        """Another row was selected."""

        def __init__(self, row: Row) -> None:
            self.row = row
            super().__init__()

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._rows: list[Row] = []
        self._key = ""
        self._lost = False

    @property
    def selected(self) -> Row | None:
        """The selected row; None while there is none."""
        return self._rows[self._index()] if self._rows else None

    def show_rows(self, rows: list[Row], *, lost: bool = False) -> None:
        """Show these; `lost`: they are what was known when the supervisor ended."""
        before = self.selected
        self._rows, self._lost = rows, lost
        self.virtual_size = Size(self.scrollable_content_region.width, len(rows) + HEAD)
        self.refresh()
        now = self.selected
        if now is not None and (before is None or before.key != now.key):
            self._select(self._index())

    def _index(self) -> int:
        keys = [row.key for row in self._rows]
        if self._key in keys:
            return keys.index(self._key)
        # Its process went (scaled down): its service is the nearest.
        service = self._key.partition(".")[0]
        return keys.index(service) if service in keys else 0

    def action_move(self, lines: int) -> None:
        """Select the row `lines` further down."""
        if self._rows:
            self._select(min(max(self._index() + lines, 0), len(self._rows) - 1))

    def _select(self, index: int) -> None:
        self._key = self._rows[index].key
        self.scroll_to_region(Region(0, index, 1, HEAD + 1), animate=False, force=True)
        self.refresh()
        self.post_message(self.Selected(self._rows[index]))

    def on_click(self, event: events.Click) -> None:
        """Select the row under the mouse."""
        index = event.y - HEAD + int(self.scroll_y)
        if event.y >= HEAD and 0 <= index < len(self._rows):
            self._select(index)

    def on_resize(self) -> None:
        """Keep the selected row in sight."""
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._rows) + HEAD)
        if self._rows:
            self.scroll_to_region(Region(0, self._index(), 1, HEAD + 1), animate=False, force=True)

    def render_line(self, y: int) -> Strip:
        """One line of the screen: the heading stays, the rows scroll below it."""
        width = self.scrollable_content_region.width
        columns = layout(self._rows, width - 1)
        index = y - HEAD + int(self.scroll_y)
        text = Text(" ", no_wrap=True, end="")
        style = Style()
        if y < HEAD:
            for column, space in columns:
                text.append(_fit(column.heading, space, right=column.right) + " " * GAP)
            style = Style(bold=True, dim=True)
        elif 0 <= index < len(self._rows):
            row = self._rows[index]
            chosen = index == self._index()
            for column, space in columns:
                cell = _fit(column.cell(row), space, right=column.right)
                state = column.heading == "STATE" and not self._lost and not chosen
                text.append(cell, STATE_STYLES.get(row.state, "") if state else "")
                text.append(" " * GAP)
            style = Style(reverse=chosen, bold=chosen and self.has_focus, dim=self._lost and not chosen)
        strip = Strip(text.render(self.app.console)).crop_extend(0, width, None)
        return strip.apply_style(self.rich_style).apply_style(style)


def _fit(text: str, width: int, *, right: bool = False) -> str:
    """`text` in exactly `width` cells, cut with an ellipsis where it is longer."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, max(0, width - 1)) + "…" * min(1, width)
    return " " * (width - length) + text if right else text + " " * (width - length)
