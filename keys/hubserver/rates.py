"""How often somebody may ask: token buckets per network and per identity, in bounded memory.

A network is what a hub's quotas count by, about what one customer has: single addresses are cheap to change.
"""

from __future__ import annotations

import math
import random
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from keys.hub import quotas
from lib.errors import UsageError

MOST = 50_000
"""Buckets that a limiter keeps; above it the one that was used longest ago is forgotten, which is full by
then or belongs to one of more networks than a hub of this size serves."""
_RATE = re.compile(r"([1-9][0-9]{0,6})/([1-9][0-9]{0,4})")


@dataclass(frozen=True)
class Rate:
    """`count` at once, and as many again over `seconds`."""

    count: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Rate:
        """The rate of `600/60`: so many in so many seconds.

        Raises: UsageError.
        """
        match = _RATE.fullmatch(text)
        if not match:
            raise UsageError(f"{text[:40]!r} is not a rate", "COUNT/SECONDS, as 600/60")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds}"


DEFAULTS = {
    "register": Rate(60, 3600),
    "operate": Rate(60, 3600),
    "announce": Rate(600, 60),
    "look": Rate(3000, 60),
    "host": Rate(12, 60),
    "identity": Rate(20, 3600),
}
"""A network's registrations, operations, announces and look-ups; one host's announces; one identity's
operations."""


def rates(pairs: tuple[str, ...]) -> dict[str, Rate]:
    """DEFAULTS with what `NAME=COUNT/SECONDS` change.

    Raises: UsageError.
    """
    chosen = dict(DEFAULTS)
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in DEFAULTS:
            raise UsageError(f"{name[:40]!r} is not limited", f"one of {', '.join(DEFAULTS)}")
        chosen[name] = Rate.parse(value)
    return chosen


class Limiter:
    """The buckets of one rate. `now` is a monotonic clock in seconds."""

    def __init__(self, rate: Rate, now: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self.rate, self._now, self._most = rate, now, most
        self._full: OrderedDict[str, float] = OrderedDict()
        """When each bucket will be full again: all that a token bucket needs (GCRA)."""

    def wait(self, key: str) -> float:
        """Take one token of `key`: 0.0, or after how many seconds there will be one (then none is taken)."""
        early = self.look(key)
        if early:
            return early
        now = self._now()
        self._full[key] = max(self._full.get(key, now), now) + self.rate.seconds / self.rate.count
        self._full.move_to_end(key)
        if len(self._full) > self._most:
            self._full.popitem(last=False)
        return 0.0

    def look(self, key: str) -> float:
        """As `wait`, and nothing is taken."""
        now = self._now()
        filled = max(self._full.get(key, now), now) + self.rate.seconds / self.rate.count
        early = filled - now - self.rate.seconds
        return early if early > 1e-9 else 0.0

    def __len__(self) -> int:
        return len(self._full)


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """The network that `address` is counted with; an address that is none stands for itself."""
    return quotas.network(address) or address


def retry_after(seconds: float, dice: Callable[[float, float], float] = random.uniform) -> str:
    """Retry-After in whole seconds, up to half as long again so that they who wait do not come together."""
    return str(max(1, math.ceil(seconds * dice(1.0, 1.5) + dice(0.0, 1.0))))
