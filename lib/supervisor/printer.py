"""Output of services on the terminal of a foreground run, from a thread: a slow terminal delays nobody.

What the terminal cannot take is left out and counted; the log files have every line.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from contextlib import suppress

from lib.console import COLOURS, coloured

STDOUT = 1

QUEUE_MAX = 1000
"""Blocks of lines that wait for the terminal."""

CLOSE_TIME = 1.0
"""Seconds that the terminal gets to take what is left at the end."""


class Printer:
    """Prints `service.number | line`; call it as an output listener."""

    def __init__(self, longest: int) -> None:
        """`longest` is the width of the longest process name."""
        self._width = longest
        self._queue: queue.Queue[bytes] = queue.Queue(QUEUE_MAX)
        self.dropped = 0
        """Lines that the terminal was too slow for."""
        self._told = 0
        self._colours: dict[str, str] = {}
        self._ended = threading.Event()
        threading.Thread(target=self._print, daemon=True).start()

    def __call__(self, service: str, number: int, stream: str, lines: bytes) -> None:
        """Queue whole `lines` of a process."""
        name = f"{service}.{number}" if number else service
        head = f"{name:<{self._width}}| ".encode()
        if coloured(sys.stdout):
            names = [colour for colour in COLOURS if colour not in ("red", "dim")]
            colour = self._colours.setdefault(service, COLOURS[names[len(self._colours) % len(names)]])
            head = b"\x1b[" + colour.encode() + b"m" + head + b"\x1b[0m"
        try:
            self._queue.put_nowait(b"".join(head + line for line in lines.splitlines(keepends=True)))
        except queue.Full:
            self.dropped += lines.count(b"\n")

    def close(self) -> None:
        """Print what waits, as far as the terminal takes it in time."""
        with suppress(queue.Full):
            self._queue.put(b"", timeout=CLOSE_TIME)
            self._ended.wait(CLOSE_TIME)

    def _print(self) -> None:
        # Past sys.stdout: this thread may hang in a write for ever, and its buffer's lock with it, for which
        # the interpreter's end would wait.
        with suppress(OSError):
            while block := self._queue.get():
                self._write(block)
                if left_out := self.dropped - self._told:
                    self._told += left_out
                    self._write(f"({left_out} lines left out here)\n".encode())
        self._ended.set()

    def _write(self, block: bytes) -> None:
        left = memoryview(block)
        while left:
            left = left[os.write(STDOUT, left) :]
