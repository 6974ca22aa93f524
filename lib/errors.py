"""Every error that a user may see, and its exit code. Owns no printing: that is ampzero.py's.

Exit codes (also in docs/exit-codes.md):

    0 done   1 failed   2 usage   3 partly done   4 bad configuration   5 something is missing
    6 a service did not become ready   7 taken by another   8 storage   9 processes or ports are left
    10 not running   11 refused   12 cannot be reached   130 interrupted
"""

from __future__ import annotations


class AmpzeroError(Exception):
    """One line for a person: `message` says what is wrong, `hint` what to do about it."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(AmpzeroError):
    """The command line or a name on it makes no sense."""

    exit_code = 2


class PartialError(AmpzeroError):
    """Some of what was asked for worked; the message names the hosts where it did not."""

    exit_code = 3


class ConfigError(AmpzeroError):
    """A configuration file is wrong; `message` starts with file:line:column and the key's path."""

    exit_code = 4


class MissingError(AmpzeroError):
    """A program, file or instance that is needed is not there."""

    exit_code = 5


class NotReadyError(AmpzeroError):
    """A service failed to start or to become ready; nothing was left running. `service` is its name."""

    exit_code = 6

    def __init__(self, message: str, hint: str = "", service: str = "") -> None:
        super().__init__(message, hint)
        self.service = service


class TakenError(AmpzeroError):
    """A port, lock or folder is held by another; the message names the holder."""

    exit_code = 7


class StorageError(AmpzeroError):
    """A folder cannot be written, or the disk is full."""

    exit_code = 8


class DiskFullError(StorageError):
    """There is no room for a write; what was there before is unharmed."""


class LeftoverError(AmpzeroError):
    """A stop was not complete: the message names the processes and ports that are left."""

    exit_code = 9


class NotRunningError(AmpzeroError):
    """The instance is not running."""

    exit_code = 10


class RefusedError(AmpzeroError):
    """A host key, signature, epoch or sequence was not the one that is trusted; nothing was changed."""

    exit_code = 11


class UnreachableError(AmpzeroError):
    """A host cannot be reached or logged in to, or its connection was lost."""

    exit_code = 12


BY_EXIT_CODE: dict[int, type[AmpzeroError]] = {
    kind.exit_code: kind
    for kind in (
        AmpzeroError, UsageError, PartialError, ConfigError, MissingError, NotReadyError, TakenError,
        StorageError, LeftoverError, NotRunningError, RefusedError, UnreachableError,
    )
}  # fmt: skip
"""For errors that travel over the control socket and are raised again on the other side."""
