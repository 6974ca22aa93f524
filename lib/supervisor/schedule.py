"""When a scheduled service runs next. Times are the machine's local time, as cron's."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

LOCAL_ZONE = Path("/etc/localtime")
"""The machine's time zone (localtime(5))."""

SET_BACK = 1.0
"""Seconds by which a clock must go back to have been set; less is the machine keeping good time."""

NEAR = 4
"""Times of which the smallest distance tells how often something runs."""


class Timetable:
    """When one process runs, by clocks that may be set at any moment.

    A clock that is set forward has passed a time: it runs once, however many were passed. One that is set
    back brings times again that it had run at: one that would come in less than half the usual pause after
    the last run is passed over, so that what runs each day does so, and what runs every minute does not fall
    silent until the old time is reached.
    """

    def __init__(self) -> None:
        # In UTC: the difference of two times of one zone knows nothing of its clocks' changes.
        self._due = datetime.now(UTC)
        self._ahead = 0.0
        self._last: tuple[datetime, float] | None = None
        """The newest time that came, and when that was by the steady clock."""

    def plan(self, expression: str) -> datetime:
        """Choose the next time and return it.

        Raises: ValueError as next_time does.
        """
        due = next_time(expression, now())
        if self._last is not None and due.astimezone(UTC) <= self._last[0]:
            came, at = self._last
            pause = _usual_pause(expression, due) / 2
            while due.astimezone(UTC) <= came and time.monotonic() - at + _seconds_until(due) < pause:
                due = next_time(expression, due)
        self._due, self._ahead = due.astimezone(UTC), _ahead()
        return due

    def left(self) -> float:
        """Seconds until the chosen time, by the clock as it is now; when it has come that is remembered."""
        left = _seconds_until(self._due)
        if left <= 0:
            self._last = self._due, time.monotonic()
        return left

    def was_set_back(self) -> bool:
        """Whether the clock was set back since the time was chosen."""
        return _ahead() < self._ahead - SET_BACK


def _ahead() -> float:
    """Seconds that the machine's clock is ahead of the steady one."""
    return time.time() - time.monotonic()


def _seconds_until(due: datetime) -> float:
    return (due.astimezone(UTC) - datetime.now(UTC)).total_seconds()


def _usual_pause(expression: str, first: datetime) -> float:
    """The smallest pause between the next few times in seconds."""
    times = [first.astimezone(UTC)]
    due = first
    while len(times) < NEAR:
        due = next_time(expression, due)
        times.append(due.astimezone(UTC))
    return min((after - before).total_seconds() for before, after in pairwise(times))


def now() -> datetime:
    """The time now, in a zone that knows when its clocks change, which an offset from UTC does not."""
    return datetime.now(local_zone(os.environ.get("TZ", "")))


def local_zone(name: str) -> tzinfo | None:
    """The time zone `name` ($TZ), or the machine's; as a last resort today's offset from UTC."""
    try:
        if name:
            return ZoneInfo(name.removeprefix(":"))
        with LOCAL_ZONE.open("rb") as stream:
            return ZoneInfo.from_file(stream)
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return datetime.now().astimezone().tzinfo


def next_time(expression: str, after: datetime) -> datetime:
    """The first time after `after` (aware) that the cron expression names.

    Raises: ValueError when it is no cron expression, or names no time within 50 years.
    """
    # Loaded only by those who schedule something.
    from cronsim import CronSim, CronSimError

    try:
        return next(CronSim(expression, after))
    except CronSimError as error:
        raise ValueError(str(error) or "not a cron expression") from error
    except StopIteration:
        raise ValueError("it names no time at all") from None
