"""The parameters of supervisor's methods, checked."""

from __future__ import annotations

import signal

from lib.control.supervisor_view import BAD_SIGNAL, INCORRECT_PARAMETERS, Fault


def text(value: object) -> str:
    """Raises: Fault when `value` is no text."""
    if not isinstance(value, str) or len(value) > 200:
        raise Fault(INCORRECT_PARAMETERS, "INCORRECT_PARAMETERS")
    return value


def number(value: object) -> int:
    """Raises: Fault when `value` is no integer."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise Fault(INCORRECT_PARAMETERS, "INCORRECT_PARAMETERS")
    return value


def signal_name(value: object) -> str:
    """`TERM` for `TERM`, `SIGTERM`, `15` and 15.

    Raises: Fault BAD_SIGNAL.
    """
    word = str(value)[:20].upper().removeprefix("SIG")
    for known in signal.Signals:
        if word in (known.name.removeprefix("SIG"), str(known.value)):
            return known.name.removeprefix("SIG")
    raise Fault(BAD_SIGNAL, f"BAD_SIGNAL: {word}")
