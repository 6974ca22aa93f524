"""Whether, and when, a process that ended by itself is started again. Pure: the caller brings the time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

from lib.supervisor.spec import Restart

FIRST_PAUSE = 0.1
"""Seconds before the second quick restart when `initial` is 0; it doubles from there to `max`."""

JITTER = 0.1
"""Share by which a pause varies, so that processes that fell together do not rise together."""

SCARCE_PAUSE = 2.0
"""Seconds after which it is looked at the latest whether a full machine has room again."""


class Decision(NamedTuple):
    """What to do: `delay` in seconds counts for restart, `reason` says why for the others."""

    action: Literal["restart", "complete", "fail", "give-up"]
    delay: float = 0.0
    reason: str = ""


class RestartPolicy:
    """The memory of one process's restarts. Times are seconds of any steady clock."""

    def __init__(self, spec: Restart, random: Callable[[], float]) -> None:
        """`random` returns a float from 0 to 1, as random.random does."""
        self.spec = spec
        self._random = random
        self._quick = 0
        self._recent: deque[float] = deque()

    def forget(self) -> None:
        """Begin anew, as after a start by hand."""
        self._quick = 0
        self._recent.clear()

    def decide(self, now: float, ran_for: float, succeeded: bool, how: str) -> Decision:
        """What follows an exit at `now` after `ran_for` seconds; `how` describes it ("exit code 1")."""
        if self.spec.policy == "never" or (self.spec.policy == "on-failure" and succeeded):
            return Decision("complete" if succeeded else "fail", reason=how)
        if ran_for >= self.spec.reset_after:
            self._quick = 0
        while self._recent and now - self._recent[0] > self.spec.give_up_within:
            self._recent.popleft()
        if len(self._recent) >= self.spec.give_up_times:
            times, within = len(self._recent), self.spec.give_up_within
            return Decision("give-up", reason=f"restarted {times} times within {within:g} s; last: {how}")
        self._recent.append(now)
        self._quick += 1
        return Decision("restart", delay=self._pause(), reason=how)

    def postpone(self) -> float:
        """Seconds until a start is tried again that the machine had no room for: that is no failure of the
        process, and never leads to giving up."""
        self._quick += 1
        return min(self._pause(), SCARCE_PAUSE)

    def _pause(self) -> float:
        if self._quick == 1:
            pause = self.spec.initial
        else:
            pause = max(self.spec.initial, FIRST_PAUSE) * 2.0 ** min(self._quick - 2, 30)
        return min(pause, self.spec.max) * (1 - JITTER + 2 * JITTER * self._random())
