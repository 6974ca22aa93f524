"""The one error that an agent raises on purpose; over the channel it becomes the class of its exit code."""

from __future__ import annotations


class AgentError(Exception):
    """One line for a person: `message` says what is wrong on this host, `hint` what to do about it.

    `exit_code` is one of lib/errors.py: the coordinator raises that class, with the host's name in front.
    """

    def __init__(self, message: str, hint: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
