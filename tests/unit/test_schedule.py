from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.supervisor import schedule
from lib.supervisor.schedule import Timetable, local_zone, next_time

BERLIN = ZoneInfo("Europe/Berlin")


def times(expression: str, start: datetime, count: int) -> list[str]:
    """The next `count` times, in UTC as 02-28 13:05."""
    found, at = [], start
    for _ in range(count):
        at = next_time(expression, at)
        found.append(f"{at.astimezone(UTC):%m-%d %H:%M}")
    return found


def test_the_next_time() -> None:
    at = datetime(2026, 2, 28, 23, 58, 30, tzinfo=UTC)
    assert times("*/5 * * * *", at, 2) == ["03-01 00:00", "03-01 00:05"]
    assert times("59 23 28 2 *", at, 1) == ["02-28 23:59"]
    assert times("30 4 * * 1-5", at, 2) == ["03-02 04:30", "03-03 04:30"]


def test_a_time_that_is_now_is_not_the_next() -> None:
    at = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)
    assert times("5 * * * *", at, 1) == ["01-01 01:05"]


def test_clocks_that_go_forward_leave_nothing_out() -> None:
    # On 29 March 2026 it is 02:00 to 03:00 nowhere in Germany; 01:00 UTC is 03:00 there.
    start = datetime(2026, 3, 28, 12, 0, tzinfo=BERLIN)
    assert times("30 2 * * *", start, 2) == ["03-29 01:00", "03-30 00:30"]
    assert times("0 4 * * *", start, 2) == ["03-29 02:00", "03-30 02:00"]
    assert times("*/30 * * * *", datetime(2026, 3, 29, 1, 10, tzinfo=BERLIN), 3) == [
        "03-29 00:30", "03-29 01:00", "03-29 01:30",
    ]  # fmt: skip


def test_clocks_that_go_back_repeat_what_is_each_hour_and_not_what_is_each_day() -> None:
    # On 25 October 2026 it is 02:00 to 03:00 twice in Germany: from 00:00 and from 01:00 UTC.
    start = datetime(2026, 10, 25, 1, 50, tzinfo=BERLIN)
    assert times("30 2 * * *", start, 2) == ["10-25 00:30", "10-26 01:30"]
    assert times("*/30 * * * *", start, 5) == [
        "10-25 00:00", "10-25 00:30", "10-25 01:00", "10-25 01:30", "10-25 02:00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "expression",
    ["", "x", "* * * *", "@daily",
     "* * * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "*/0 * * * *",
     "5-1 * * * *", "0 0 31 2 *", "a b c d e", "\0", "1,,2 * * * *", "٣ * * * *", "9" * 5000],
)  # fmt: skip
def test_what_is_no_schedule(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        next_time(expression, datetime(2026, 1, 1, tzinfo=UTC))


FIELD = st.from_regex(r"(\*|[0-9]{1,2}(-[0-9]{1,2})?)(/[0-9]{1,2})?(,[0-9]{1,2})?", fullmatch=True)


@given(st.text() | st.lists(FIELD, min_size=5, max_size=5).map(" ".join))
def test_any_text_is_a_schedule_or_a_value_error(expression: str) -> None:
    at = datetime(2026, 10, 25, tzinfo=BERLIN)
    try:
        found = next_time(expression, at)
    except ValueError as error:
        assert str(error)
    else:
        assert at < found < at + timedelta(days=51 * 366)


def test_now_knows_when_its_clocks_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    found = schedule.now()
    assert found.tzinfo == BERLIN
    assert abs(found - datetime.now(UTC)) < timedelta(seconds=5)


def test_the_machines_zone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert local_zone(":Europe/Berlin") == BERLIN
    monkeypatch.setattr(schedule, "LOCAL_ZONE", tmp_path / "localtime")
    for name in ("", "No/Where", "CET-1CEST,M3.5.0,M10.5.0/3", "../../etc/passwd"):
        assert local_zone(name) is not None
    (tmp_path / "localtime").write_text("no zone")
    assert local_zone("") is not None


class Clocks:
    """The time of day and the steady clock, as a test sets them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: datetime) -> None:
        self.at, self.steady = at, 1000.0
        clocks = self

        class Day(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return clocks.at.astimezone(tz)

        monkeypatch.setattr(schedule, "datetime", Day)
        monkeypatch.setattr(schedule, "now", lambda: clocks.at)
        monkeypatch.setattr(time, "time", lambda: clocks.at.timestamp())
        monkeypatch.setattr(time, "monotonic", lambda: clocks.steady)

    def run(self, passed: timedelta) -> None:
        """Let both go on."""
        self.at += passed
        self.steady += passed.total_seconds()


def test_a_clock_set_back_neither_repeats_a_daily_run_nor_silences_a_frequent_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clocks = Clocks(monkeypatch, datetime(2026, 5, 4, 4, 29, tzinfo=UTC))
    daily, often = Timetable(), Timetable()
    assert daily.plan("30 4 * * *") == datetime(2026, 5, 4, 4, 30, tzinfo=UTC)
    often.plan("*/5 * * * *")
    clocks.run(timedelta(minutes=1))
    assert daily.left() == often.left() == 0
    clocks.run(timedelta(seconds=10))
    assert daily.plan("30 4 * * *").day == 5
    assert often.plan("*/5 * * * *").minute == 35
    assert not daily.was_set_back()
    # Three minutes back: 4:30 comes again, and was just now.
    clocks.at -= timedelta(minutes=3)
    assert daily.was_set_back()
    assert daily.plan("30 4 * * *") == datetime(2026, 5, 5, 4, 30, tzinfo=UTC)
    assert often.plan("*/5 * * * *") == datetime(2026, 5, 4, 4, 30, tzinfo=UTC)
    # A day back: a day after the last run is the same date again.
    clocks.at -= timedelta(days=1)
    assert daily.plan("30 4 * * *") == datetime(2026, 5, 4, 4, 30, tzinfo=UTC)
    assert often.plan("*/5 * * * *") == datetime(2026, 5, 3, 4, 30, tzinfo=UTC)
    assert not daily.was_set_back()


def test_a_clock_set_forward_over_many_times_is_behind_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch, datetime(2026, 5, 4, 4, 29, 30, tzinfo=UTC))
    often = Timetable()
    often.plan("* * * * *")
    clocks.at += timedelta(days=1)
    assert often.left() < 0
    assert often.plan("* * * * *") == datetime(2026, 5, 5, 4, 30, tzinfo=UTC)


def test_an_uneven_schedule_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch, datetime(2026, 5, 4, 0, 0, tzinfo=UTC) - timedelta(seconds=30))
    one, found = Timetable(), []
    for _ in range(4):
        found.append(one.plan("0,1 * * * *"))
        clocks.run(found[-1] - clocks.at)
        assert one.left() == 0
    assert [(each.hour, each.minute) for each in found] == [(0, 0), (0, 1), (1, 0), (1, 1)]
