"""The log of what is selected, as a widget: follows the end until one scrolls away from it."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import ClassVar

from rich.cells import cell_len, chop_cells
from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from lib.logs.record import Record
from lib.view.lines import Line, Lines, found_in

STREAM_STYLES = {"out": "", "err": "red", "sys": "bright_black"}
"""The colour of the mark between the head of a line and its text."""


class LogPane(ScrollView, can_focus=True):
    """Shows `lines`. `names`: with the name of the process before each text."""

    # The bar is always there: one that comes and goes would fold the lines anew, and they might fit again.
    DEFAULT_CSS = """
    LogPane { overflow-y: scroll; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("end,G", "newest", "newest", show=False),
        Binding("home,g", "oldest", "oldest", show=False),
        Binding("k", "scroll_up", "up", show=False),
        Binding("j", "scroll_down", "down", show=False),
    ]

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.lines = Lines()
        self.names = False
        self.wrap = True
        self.at_end = True
        self._ends: list[int] = []
        """The row after each line, so that a row's line is found by halving."""
        self._width = 0
        """Cells of the longest line, where they are not wrapped."""

    def add(self, records: list[Record]) -> None:
        """Take new records in."""
        before = len(self.lines.shown)
        gone = self.lines.add(records)
        if gone:
            rows = self._ends[gone - 1] if gone <= len(self._ends) else 0
            self._measure()
            if not self.at_end:
                self.scroll_to(y=max(0, self.scroll_y - rows), animate=False, immediate=True)
        else:
            self._measure(before)
        self._settle()

    def clear(self) -> None:
        """Forget the lines and go to the end."""
        self.lines.clear()
        self.at_end = True
        self._measure()
        self._settle()

    def set_wrap(self, wrap: bool) -> None:
        """Fold long lines, or let them go on to the right (arrow keys)."""
        self.wrap = wrap
        self._measure()
        self.scroll_to(x=0, animate=False, immediate=True)
        self._settle()

    def set_filter(self, text: str) -> None:
        """Show only the lines with `text`."""
        self.lines.set_filter(text)
        self._measure()
        self._settle()

    def set_search(self, text: str) -> int:
        """Mark `text` wherever it stands, go to its newest place; how many lines have it."""
        self.lines.search = text
        hits = self.lines.hits()
        if hits:
            self._show_line(hits[-1])
        self.refresh()
        return len(hits)

    def next_hit(self, *, back: bool) -> bool:
        """Go to the next line with the search below what is shown, or above; whether there is one."""
        hits = self.lines.hits()
        if not hits:
            return False
        middle = bisect_right(self._ends, int(self.scroll_y) + self._middle())
        following = [hit for hit in hits if (hit < middle if back else hit > middle)]
        if following:
            self._show_line(following[-1] if back else following[0])
        return bool(following)

    def action_newest(self) -> None:
        """Go to the end and follow it."""
        self.at_end = True
        self._settle()

    def action_oldest(self) -> None:
        """Go to the oldest line that is held."""
        self.at_end = False
        self.scroll_to(y=0, animate=False, immediate=True)

    def _middle(self) -> int:
        return max(0, self.size.height // 2)

    def _show_line(self, index: int) -> None:
        row = self._ends[index - 1] if index else 0
        self.at_end = False
        self.scroll_to(y=max(0, row - self._middle()), animate=False, immediate=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Whoever scrolls up stops following; at the end it goes on."""
        super().watch_scroll_y(old_value, new_value)
        if new_value != old_value:
            self.at_end = new_value >= self.max_scroll_y

    def on_resize(self) -> None:
        """Fold anew for the new width."""
        self._measure()
        self._settle()

    def _head(self, line: Line) -> str:
        return f"{line.time} {line.who} " if self.names else f"{line.time} "

    def _pieces(self, line: Line) -> int:
        """Rows that a line takes."""
        width = self.scrollable_content_region.width
        if not self.wrap or width < 4:
            return 1
        whole = f"{self._head(line)}| {line.plain}"
        if whole.isascii():
            return max(1, -(-len(whole) // width))
        return max(1, len(chop_cells(whole, width)))

    def _measure(self, start: int = 0) -> None:
        """The rows of the lines from index `start` on."""
        new = self.lines.shown[start:]
        del self._ends[start:]
        base = self._ends[-1] if self._ends else 0
        self._ends += [base + rows for rows in accumulate(map(self._pieces, new))]
        if not self.wrap:
            widest = max((cell_len(self._head(line)) + 2 + cell_len(line.plain) for line in new), default=0)
            self._width = max(self._width if start else 0, widest)

    def _settle(self) -> None:
        width = (
            self.scrollable_content_region.width
            if self.wrap
            else max(self._width, self.scrollable_content_region.width)
        )
        following = self.at_end
        self.virtual_size = Size(width, self._ends[-1] if self._ends else 0)
        if following:
            self.scroll_to(y=self.max_scroll_y, animate=False, immediate=True)
            self.at_end = True
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        width = self.scrollable_content_region.width
        row = y + int(self.scroll_y)
        index = bisect_right(self._ends, row)
        if index >= len(self.lines.shown):
            return Strip.blank(width, self.rich_style)
        text = self._text(self.lines.shown[index])
        start = int(self.scroll_x)
        if self.wrap:
            piece = row - (self._ends[index - 1] if index else 0)
            plain = text.plain
            chunks = [width] * piece if plain.isascii() else [*map(len, chop_cells(plain, width)[:piece])]
            offset = sum(chunks)
            following = len(plain) if plain.isascii() else offset + len(chop_cells(plain[offset:], width)[0])
            text = text[offset : offset + width if plain.isascii() else following]
            start = 0
        text.end = ""
        text.no_wrap = True
        strip = Strip(text.render(self.app.console)).crop_extend(start, start + width, None)
        return strip.apply_style(self.rich_style)

    def _text(self, line: Line) -> Text:
        text = Text(self._head(line), style=Style(dim=True), no_wrap=True)
        whole = Text(no_wrap=True).append_text(text)
        whole.append("| ", STREAM_STYLES[line.stream])
        body = Text.from_ansi(line.text) if "\x1b" in line.text else Text(line.text)
        if line.stream == "sys":
            body.stylize("bright_black")
        for start, end in found_in(body.plain, self.lines.search or self.lines.filter):
            body.stylize("reverse" if self.lines.search else "bold", start, end)
        return whole.append_text(body)
