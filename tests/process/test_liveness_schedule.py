"""Probes of a process that is up, and processes that run by the clock."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from running_support import Running, kill, wait_gone

MakeRunning = Callable[..., Running]

PYTHON = sys.executable


def words(one: Running, service: str = "web") -> list[bytes]:
    return [text for _, _, stream, _, text in one.records(service) if stream == "sys"]


def test_a_failing_liveness_probe_restarts_it_with_the_reason(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sleep 600, live: {exec: 'test ! -e ill', period: 50ms, failures: 2}}\n"
    ).start()
    pid = one.pid("web")
    (one.folder / "ill").touch()
    one.until(lambda: one.process("web")["restarts"] >= 1)
    (one.folder / "ill").unlink()
    one.until(lambda: one.process("web")["state"] == "ready")
    assert one.pid("web") != pid
    assert any(
        text.startswith(b"backoff: not alive: /bin/sh -c test ! -e ill: exit code 1") for text in words(one)
    )


def test_the_deaf_are_killed(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh app.sh, ready: {log: up}, stop: {timeout: 300ms},"
        " live: {exec: 'test ! -e ill', period: 50ms, failures: 1}}\n",
        {"app.sh": "trap '' TERM; echo up; while :; do sleep 0.1; done"},
    ).start()
    pid = one.pid("web")
    (one.folder / "ill").touch()
    one.until(lambda: one.process("web")["restarts"] >= 1)
    (one.folder / "ill").unlink()

    def well_again() -> bool:
        web = one.process("web")
        return bool(web["state"] == "ready" and web["pid"] != pid)

    one.until(well_again)


def test_one_failure_is_not_enough_and_a_stop_is_not_disturbed(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sleep 600,"
        " live: {exec: 'echo x >> asked; test $(wc -l < asked) -ne 2', period: 50ms, failures: 2}}\n"
    ).start()
    pid = one.pid("web")
    one.until(lambda: (one.folder / "asked").exists() and (one.folder / "asked").read_text().count("x") > 5)
    assert one.pid("web") == pid
    assert one.stop("web").code == 0
    assert one.process("web")["restarts"] == 0


def test_a_readiness_that_is_lost_kills_nothing_and_comes_back(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sleep 600, ready: {exec: 'test ! -e ill', period: 50ms, failures: 2}}\n"
    ).start()
    pid = one.pid("web")
    (one.folder / "ill").touch()
    line = one.until_state("web", "unready")
    assert "exit code 1" in line["reason"]
    assert one.status()["state"] == "degraded"
    assert one.pid("web") == pid
    (one.folder / "ill").unlink()
    one.until_state("web", "ready")
    assert one.pid("web") == pid
    assert one.process("web")["restarts"] == 0


def test_a_scheduled_process_waits_and_runs_when_it_is_told_to(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  cron: {command: sh -c 'echo ran; exit $(cat code)', schedule: '0 0 29 2 *'}\n"
        "  after: {command: sleep 600, depends_on: [cron]}\n",
        {"code": "0"},
    ).start()
    line = one.process("cron")
    assert line["state"] == "scheduled"
    assert line["reason"].startswith("next ")
    assert "-02-29 00:00" in line["reason"]
    assert one.output("cron") == []
    assert one.status()["state"] == "ready"
    for number, code in enumerate((0, 3), 1):
        (one.folder / "code").write_text(f"{code}\n")
        assert one.ampzero("start", one.folder, "cron.1").code == 0
        one.until(lambda n=number: one.output("cron") == [b"ran"] * n)  # type: ignore[misc]  # a default
        one.until(lambda c=code: one.process("cron")["reason"].endswith(f"; last: exit code {c}"))  # type: ignore[misc]  # a default
        assert one.process("cron")["state"] == "scheduled"
    assert one.stop("cron").code == 0
    assert one.process("cron")["state"] == "stopped"
    assert one.ampzero("start", one.folder, "cron").code == 0
    assert one.process("cron")["state"] == "scheduled"
    assert one.output("cron") == [b"ran"] * 2


def test_one_at_a_time(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  cron: {command: sh -c 'echo ran; sleep 600', schedule: '0 0 29 2 *'}\n"
    ).start()
    assert one.ampzero("start", one.folder, "cron").code == 0
    pid = one.pid("cron")
    assert one.ampzero("start", one.folder, "cron").code == 0
    assert one.pid("cron") == pid
    one.until(lambda: one.output("cron"))
    assert one.stop("cron").code == 0
    assert one.output("cron") == [b"ran"]


def test_how_the_last_run_ended_is_known_after_a_crash(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sleep 600}\n  cron: {command: sh -c 'exit 7', schedule: '0 0 29 2 *'}\n"
    ).start()
    one.ampzero("start", one.folder, "cron")
    one.until(lambda: one.process("cron")["reason"].endswith("last: exit code 7"))
    kill(supervisor := one.supervisor)
    assert wait_gone(supervisor)
    assert one.run().code == 0
    assert one.process("cron")["reason"].endswith("last: exit code 7")


FAKETIME = ("lib/*/faketime/libfaketime*.so.1", "lib64/faketime/libfaketime*.so.1")
"""libfaketime below /usr, as Debian and as Fedora have it."""


class Clock:
    """The time of day of an instance, set while it runs; the steady clock goes on as it is."""

    def __init__(self, file: Path) -> None:
        found = sorted(str(path) for each in FAKETIME for path in Path("/usr").glob(each))
        if not found:
            pytest.skip("libfaketime is not installed")
        self._file = file
        self.set(timedelta())
        self.environment = {
            "LD_PRELOAD": found[-1], "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1",
        }  # fmt: skip

    def set(self, by: timedelta) -> None:
        """Let it be `by` from the machine's."""
        self.by = by
        aside = self._file.with_suffix(".new")
        aside.write_text(f"{by.total_seconds():+.0f}s\n")
        aside.rename(self._file)

    def now(self) -> datetime:
        return datetime.now().astimezone() + self.by


@pytest.mark.slow
def test_a_clock_that_jumps_ahead_runs_a_task_once_and_one_that_jumps_back_does_not_silence_it(
    make_running: MakeRunning, tmp_path: Path
) -> None:
    clock = Clock(tmp_path / "clock")
    one = make_running(
        "services:\n  cron: {command: echo ran, schedule: '* * * * *'}\n"
        "  daily: {command: echo ran, schedule: '30 4 * * *'}\n"
        "  web: {command: sleep 600}\n"
    ).start(env=clock.environment)
    started = one.process("web")

    def due(name: str) -> datetime:
        words = one.process(name)["reason"].split()
        return datetime.fromisoformat(f"{words[1]} {words[2].rstrip(';')}").astimezone()

    # A day ahead: 1440 times were passed, and one run makes up for them.
    clock.set(timedelta(days=1))
    one.until(lambda: one.output("daily") == [b"ran"], seconds=50)
    one.until(lambda: timedelta() <= due("cron") - clock.now() + timedelta(minutes=1) <= timedelta(minutes=2))
    assert len(one.output("cron")) in (1, 2)
    assert due("daily") > clock.now()
    # And back: it goes on within a minute, though the old time is a day away. A minute begins soon
    # after the supervisor has looked at the clock, which it does each 30 s.
    ran = len(one.output("cron"))
    clock.set(timedelta(seconds=20 - datetime.now().second))
    one.until(lambda: len(one.output("cron")) > ran, seconds=100)
    assert due("cron") - clock.now() < timedelta(minutes=2)
    assert one.output("daily") == [b"ran"]
    assert due("daily") - clock.now() < timedelta(days=2)
    now = one.process("web")
    assert (now["pid"], now["restarts"], now["state"]) == (started["pid"], 0, "ready")
    assert 0 < now["uptime"] < 400
    assert one.stop().code == 0
