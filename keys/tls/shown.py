"""What is known of the certificate that browsers are shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keys.tls.leaf import Pair

NEVER = float(10**11)
"""Seconds since 1970: the year 5138."""


@dataclass(frozen=True)
class Shown:
    """The pair that is shown. Times are seconds since 1970: `due` is when its own renewal is, `leaf_due` that
    of the leaf. `watched` are files of the user's."""

    pair: Pair
    source: str
    names: tuple[str, ...]
    expires: float
    due: float
    leaf_due: float
    watched: tuple[Path, ...] = ()
    problem: str = ""
