"""A real terminal for tests: a program in tmux, its keys and its screen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import wait_for


class Terminal:
    """One tmux server of its own with one window; `folder` holds its socket."""

    def __init__(self, folder: Path, command: list[str], *, width: int = 80, height: int = 24,
                 cwd: Path | None = None) -> None:  # fmt: skip
        self._socket = folder / "tmux.sock"
        environment = {**os.environ, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        subprocess.run(
            ["tmux", "-u", "-S", self._socket, "-f", "/dev/null", "new-session", "-d", "-x", str(width),
             "-y", str(height), *command],
            env=environment, cwd=cwd or folder, check=True, timeout=60,
        )  # fmt: skip
        # The screen stays to be read when the program has ended.
        self._tmux("set-option", "-g", "remain-on-exit", "on")

    def _tmux(self, *words: str) -> str:
        return subprocess.run(
            ["tmux", "-u", "-S", self._socket, *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).stdout

    def keys(self, *names: str) -> None:
        """Press keys by tmux's names: Down, Enter, C-c, r, …"""
        self._tmux("send-keys", "--", *names)

    def type(self, text: str) -> None:
        """Type `text` as it is."""
        self._tmux("send-keys", "-l", "--", text)

    def screen(self) -> str:
        """What the terminal shows."""
        return self._tmux("capture-pane", "-p")

    def history(self) -> str:
        """What the terminal shows, and what scrolled away before."""
        return self._tmux("capture-pane", "-p", "-S", "-")

    def resize(self, width: int, height: int) -> None:
        """Make the terminal another size."""
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def until(self, *texts: str, seconds: float = 30) -> str:
        """Wait until the screen shows all `texts`; the screen then."""
        seen = ""

        def there() -> bool:
            nonlocal seen
            seen = self.screen()
            return all(text in seen for text in texts)

        assert wait_for(there, seconds, step=0.1), f"{texts} not on the screen:\n{seen}"
        return seen

    def until_said(self, text: str) -> None:
        """Wait until the program has said `text`; the screen scrolls by a line when it ends."""
        assert wait_for(lambda: text in self.history(), 30, step=0.1), (
            f"{text!r} is not in:\n{self.history()}"
        )

    def close(self) -> None:
        """End it and what runs in it."""
        self._tmux("kill-server")


@contextmanager
def terminal(folder: Path, command: list[str], *, width: int = 80, height: int = 24,
             cwd: Path | None = None) -> Iterator[Terminal]:  # fmt: skip
    """A terminal that runs `command`, closed at the end; the test is skipped where there is no tmux."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    opened = Terminal(folder, command, width=width, height=height, cwd=cwd)
    try:
        yield opened
    finally:
        opened.close()
