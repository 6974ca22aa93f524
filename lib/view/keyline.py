"""The last line: the keys, or for a while what became of a command."""

from __future__ import annotations

import time

from rich.text import Text
from textual.widgets import Static

from lib.view.keys import HINTS

SAID = 8.0
"""Seconds that a message stands in the place of the keys."""
LOOK = 0.5
"""Seconds between two looks whether it has stood long enough."""


class KeyLine(Static):
    """Shows as many keys as there is room for; a click on one does what the key does."""

    _until = 0.0

    def on_mount(self) -> None:
        """Begin with the keys."""
        self.forget()
        self.set_interval(LOOK, self._look)

    def say(self, text: str, style: str = "", seconds: float = SAID) -> None:
        """Show a message, in a rich style, for so long."""
        self._until = time.monotonic() + seconds
        self.update(Text(f" {text}", style, no_wrap=True, overflow="ellipsis"))

    def forget(self) -> None:
        """Show the keys again."""
        self._until = 0.0
        parts: list[str] = []
        left = self.app.size.width - 1
        for key, word, action in HINTS:
            left -= len(key) + len(word) + 3
            if left < 0:
                break
            parts.append(f'[@click="app.{action}"][bold]{key}[/bold] [not bold]{word}[/][/]')
        self.update(" " + "  ".join(parts))

    def on_resize(self) -> None:
        """As many as there is room for now."""
        if not self._until:
            self.forget()

    def _look(self) -> None:
        if self._until and time.monotonic() > self._until:
            self.forget()
