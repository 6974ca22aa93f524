"""Our events in circus's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lib.control.circus_events import CircusEvents, exit_code
from lib.control.circus_stats import size
from lib.control.circus_values import options, signal_number, watcher_state
from lib.errors import UsageError
from lib.supervisor.spec import Plan, ProcessSpec, ServiceSpec
from lib.supervisor.states import FOLLOWERS


def status(*pids: int | None) -> dict[str, Any]:
    processes = [{"number": number, "pid": pid} for number, pid in enumerate(pids, 1)]
    return {"services": [{"name": "web", "processes": processes}]}


def heard(events: CircusEvents, *changes: tuple[str, int | None]) -> list[tuple[str, Any]]:
    found = []
    for state, pid in changes:
        body = {
            "service": "web",
            "number": 1,
            "state": state,
            "pid": pid,
            "reason": "killed by SIGKILL; again",
        }
        for topic, event in events.translate(body):
            found.append((topic, json.loads(event).get("process_pid")))
    return found


def test_a_whole_life() -> None:
    changes = ("waiting", None), ("starting", 5), ("ready", 5), ("stopping", 5), ("stopped", None)
    assert heard(CircusEvents(status(None)), *changes) == [
        ("watcher.web.spawn", 5), ("watcher.web.start", None), ("watcher.web.ready", 5),
        ("watcher.web.kill", 5), ("watcher.web.reap", 5), ("watcher.web.stop", None),
    ]  # fmt: skip


def test_a_restart_beside_a_living_one_is_no_start_of_the_watcher() -> None:
    changes = ("backoff", None), ("starting", 7), ("starting", 7), ("ready", 7)
    assert heard(CircusEvents(status(5, 6)), *changes) == [
        ("watcher.web.reap", 5), ("watcher.web.spawn", 7), ("watcher.web.ready", 7)
    ]  # fmt: skip


def test_a_new_pid_without_a_word_of_the_end() -> None:
    assert heard(CircusEvents(status(5)), ("ready", 9)) == [
        ("watcher.web.reap", 5), ("watcher.web.spawn", 9), ("watcher.web.start", None),
        ("watcher.web.ready", 9),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "code"),
    [("exit code 3", 3), ("ended 3 times; last: exit code 0", 0), ("killed by SIGKILL", -9),
     ("killed by signal 40", -40), ("killed by SIGNIX", None), ("stopped by command", None), ("", None)],
)  # fmt: skip
def test_exit_codes(reason: str, code: int | None) -> None:
    assert exit_code(reason) == code


def test_every_state_has_a_word() -> None:
    assert {watcher_state(state) for state in FOLLOWERS} == {"active", "starting", "stopping", "stopped"}


@pytest.mark.parametrize(
    ("value", "number"), [("TERM", 15), ("sigterm", 15), ("15", 15), (15, 15), ("hup", 1)]
)
def test_signals(value: object, number: int) -> None:
    assert signal_number(value) == number


@pytest.mark.parametrize("value", ["NIX", "SIG", "", None, -1, 0, 999, 1.5, True, [], "_BLOCK", "9" * 5000])
def test_signals_that_are_none(value: object) -> None:
    with pytest.raises(UsageError):
        signal_number(value)


def test_options_hide_the_values_of_the_environment() -> None:
    process = ProcessSpec(service="web", number=1, argv=("a", "b"), cwd="/", env={"TOKEN": "secret"})
    web = ServiceSpec(name="web", kind="command", processes=(process,))
    plan = Plan(name="x", directory="/", var="/", sockets="/", services=(web,))
    found = options(plan, "web", 3)
    assert found["numprocesses"] == 3
    assert "secret" not in str(found)


def test_sizes() -> None:
    assert [size(count) for count in (0, 1023, 1024, 12 << 20, 3 << 30)] == [
        "0B",
        "1023B",
        "1.00K",
        "12.00M",
        "3.00G",
    ]
