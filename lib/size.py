"""Sizes as people write them: `200M`, `1G`, `4096`, in bytes."""

from __future__ import annotations

import re

from lib.errors import ConfigError

UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
SIZE = re.compile(r"([0-9]{1,19})\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
LARGEST = 2**60
"""An exbibyte: more is a slip of the pen, and limits of the system (63 bits) overflow not far beyond it."""


def size(value: str | int) -> int:
    """Bytes of `200M`, `1G`, `4096`: whole numbers, with k, M, G or T as powers of 1024.

    Raises: ConfigError.
    """
    if isinstance(value, str):
        found = SIZE.fullmatch(value.strip())
        count = int(found[1]) * UNITS[found[2].lower()] if found else -1
    else:
        count = value
    if not 0 <= count <= LARGEST:
        shown = repr(value[:40]) if isinstance(value, str) else str(value)[:40]
        raise ConfigError(f"{shown} is not a size", "as 200M, 1G, or a number of bytes")
    return count
