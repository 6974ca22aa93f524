"""The seconds that a gateway has known its mappings for: they tell of a restart that forgot them."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds that only rise."""


def boot_time() -> float:
    """Seconds since the boot, those that the machine slept included: a lease runs out meanwhile."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Epoch:
    """The epochs that one gateway has told, each against the one before and our own clock."""

    def __init__(self, clock: Clock = boot_time) -> None:
        self._clock = clock
        self._told: tuple[float, int] | None = None

    def see(self, value: int) -> bool:
        """Note an epoch that was just told; whether the gateway still knows what it knew before.

        The rule is PCP's (RFC 6887, section 8.5), which is stricter than that of NAT-PMP: the difference may
        be off by one part in 16 and by two seconds, as for clocks that are not exact.
        """
        now, before = self._clock(), self._told
        self._told = (now, value)
        if before is None:
            return True
        ours, theirs = now - before[0], value - before[1]
        if theirs < -1:
            return False
        return ours + 2 >= theirs - theirs / 16 and theirs + 2 >= ours - ours / 16
