"""Durations as people write them: `10s`, `500ms`, `5m`, `1h`, `7d`, `1h30m`, or a number of seconds."""

from __future__ import annotations

import re

from lib.errors import ConfigError

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|s|m|h|d)")
NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?")
LONGEST = 36525 * 86400.0
"""A hundred years: more is a slip of the pen, and clocks of the system overflow far beyond it."""


def seconds(value: str | float) -> float:
    """`value` in seconds, 0 or more.

    Raises: ConfigError.
    """
    if isinstance(value, str):
        text = value.strip()
        if NUMBER.fullmatch(text):
            total = float(text)
        elif re.fullmatch(f"(?:{PART.pattern})+", text):
            total = sum(float(number) * UNITS[unit] for number, unit in PART.findall(text))
        else:
            raise _bad(value)
    else:
        total = float(value)
    if not 0 <= total <= LONGEST:  # not a number is in no range either
        raise _bad(value)
    return total


def _bad(value: str | float) -> ConfigError:
    shown = repr(value[:40]) if isinstance(value, str) else str(value)
    return ConfigError(
        f"{shown} is not a duration", "write it like 500ms, 10s, 5m, 1h, 7d, or as a number of seconds"
    )
