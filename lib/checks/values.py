"""Checks of single values that several keys share: durations, sizes, signals, users."""

from __future__ import annotations

import signal
from collections.abc import Callable

from lib import duration
from lib.errors import ConfigError
from lib.size import size
from lib.yamlfile import did_you_mean

Where = tuple[str | int, ...]
"""A key path."""
Fail = Callable[..., ConfigError]
"""`fail(path, what, hint, key=…)` makes the error about the value (or key) at a path."""


def check_duration(value: str | float, where: Where, fail: Fail, least: float = 0.0) -> None:
    """Refuse what is no duration, or shorter than `least` seconds.

    Raises: ConfigError.
    """
    try:
        given = duration.seconds(value)
    except ConfigError as error:
        raise fail(where, error.message, error.hint) from error
    if given < least:
        shown = f"{least:g}s" if least >= 1 else f"{least * 1000:g}ms"
        raise fail(where, f"is too short: at least {shown}")


def check_size(value: str | int, where: Where, fail: Fail, least: str = "0") -> None:
    """Refuse what is no size, or smaller than `least`.

    Raises: ConfigError.
    """
    try:
        given = size(value)
    except ConfigError as error:
        raise fail(where, error.message, error.hint) from error
    if given < size(least):
        raise fail(where, f"{value} is too little: at least {least}", "a number alone is bytes: as 200M, 1G")


def check_signal(name: str, where: Where, fail: Fail) -> None:
    """Refuse what names no signal; `TERM` and `SIGTERM` are both good.

    Raises: ConfigError.
    """
    known = [known.name.removeprefix("SIG") for known in signal.Signals]
    if name.removeprefix("SIG") not in known:
        hint = did_you_mean(name.upper().removeprefix("SIG"), known)
        raise fail(where, f"no signal {name!r}", hint or "as TERM, INT, HUP, QUIT, USR1, KILL")


def check_user(name: str, where: Where, fail: Fail) -> None:
    """Refuse a user that this machine does not have; a number is taken as it is.

    Raises: ConfigError.
    """
    # Loaded only by those who name a user.
    import pwd

    if not name.isdecimal() and name not in (known := [entry.pw_name for entry in pwd.getpwall()]):
        try:
            pwd.getpwnam(name)  # a directory service need not list all that it knows
        except (KeyError, ValueError):
            raise fail(where, f"no user {name!r} on this machine", did_you_mean(name, known)) from None


def check_group(name: str, where: Where, fail: Fail) -> None:
    """Refuse a group that this machine does not have; a number is taken as it is.

    Raises: ConfigError.
    """
    import grp

    if not name.isdecimal() and name not in (known := [entry.gr_name for entry in grp.getgrall()]):
        try:
            grp.getgrnam(name)
        except (KeyError, ValueError):
            raise fail(where, f"no group {name!r} on this machine", did_you_mean(name, known)) from None
