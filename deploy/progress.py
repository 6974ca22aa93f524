"""What a deploy tells while it works. Owns the interface only; drawing is lib/commands/'s."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called from the threads of all hosts."""

    def step(self, text: str) -> None:
        """The whole deploy is at this now."""

    def host(self, name: str, text: str) -> None:
        """The host is at this now."""

    def failed(self, name: str, text: str) -> None:
        """The host is out, and why."""

    def output(self, name: str, line: str) -> None:
        """A line that a hook wrote on the host (or here: name "")."""
