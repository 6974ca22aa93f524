"""How a deploy shows its work: a line a host on a terminal, lines that scroll by elsewhere; no results."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import lib.console as console

REFRESH = 8
"""Drawings a second."""


class PlainView:
    """One line for each step of the whole, each failure and each line of a hook."""

    def open(self) -> None:
        """Begin, or go on after `close`."""

    def close(self) -> None:
        """Leave the terminal to others; harmless when it is closed."""

    def step(self, text: str) -> None:
        """The whole deploy is at this now."""
        console.say(text)

    def host(self, name: str, text: str) -> None:
        """Not shown: with many hosts it would drown the rest."""

    def failed(self, name: str, text: str) -> None:
        """The host is out, and why."""
        console.say(f"  {text if text.startswith(name) else f'{name}: {text}'}")

    def output(self, name: str, line: str) -> None:
        """A line that a hook wrote."""
        console.say(f"  {name} | {line}" if name else f"  | {line}")


class LiveView(PlainView):
    """Drawn anew while it goes on, with rich: the step, and a line for each host; what scrolled by stays."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._hosts: dict[str, tuple[str, bool]] = {}
        self._lock = threading.Lock()
        self._step = ""
        self._began = time.monotonic()
        self._console = Console(stderr=True)
        self._live = Live(get_renderable=self._draw, console=self._console, refresh_per_second=REFRESH,
                          transient=True)  # fmt: skip

    def open(self) -> None:
        """Begin to draw."""
        self._began = time.monotonic()
        self._live.start()

    def close(self) -> None:
        """Wipe what was drawn; the steps that are done stay."""
        if self._live.is_started:
            self.step("")
            self._live.stop()

    def step(self, text: str) -> None:
        """The whole deploy is at this now."""
        with self._lock:
            before, self._step = self._step, text
            taken, self._began = time.monotonic() - self._began, time.monotonic()
        if before:
            self._print(f"{before}  [{taken:.1f} s]")

    def host(self, name: str, text: str) -> None:
        """The host is at this now."""
        with self._lock:
            self._hosts[name] = (text, False)

    def failed(self, name: str, text: str) -> None:
        """The host is out, and why."""
        with self._lock:
            self._hosts[name] = (text.removeprefix(f"{name}: "), True)

    def output(self, name: str, line: str) -> None:
        """A line that a hook wrote: it scrolls by above the hosts."""
        self._print(f"  {name} | {line}" if name else f"  | {line}")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _draw(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            hosts, step = dict(self._hosts), self._step
        table = Table.grid(padding=(0, 2))
        room = max(3, self._console.height - 4)
        # Where there is no room for all, those that failed come first.
        shown = sorted(hosts.items(), key=lambda item: not item[1][1])[:room]
        for name, (text, failed) in shown if len(hosts) > room else hosts.items():
            said = Text(text, style="red" if failed else "", no_wrap=True, overflow="ellipsis")
            table.add_row(Text(name), said)
        if len(hosts) > room:
            table.add_row(Text("…"), Text(f"and {len(hosts) - room} more hosts"))
        whole = Table.grid()
        whole.add_row(Text(f"{step} …", style="bold"))
        whole.add_row(table)
        return whole


def make_view() -> PlainView:
    """The live view where there is a terminal that can draw and rich is installed; else the plain one."""
    if console.coloured(sys.stderr):
        try:
            return LiveView()
        except ModuleNotFoundError as missing:
            if (missing.name or "").split(".")[0] != "rich":
                raise
    return PlainView()
