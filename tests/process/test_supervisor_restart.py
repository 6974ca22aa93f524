"""What follows when a process ends by itself: restarts, pauses, giving up, or nothing."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable

import pytest
from running_support import Running, alive, kill, wait_gone
from support import unused_port

MakeRunning = Callable[..., Running]


def test_a_killed_process_is_back_at_once(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n").start()
    pid = one.pid("web")
    os.kill(pid, signal.SIGKILL)
    one.until(lambda: one.process("web")["state"] == "ready" and one.pid("web") != pid)
    found = one.process("web")
    assert found["restarts"] == 1
    assert b"backoff: killed by SIGKILL" in one.output("web", "sys")
    assert one.service("web")["restarts"] == 1


def test_only_the_process_that_was_killed_is_restarted(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600, processes: 3}\n").start()
    before = [one.pid(f"web.{number}") for number in (1, 2, 3)]
    os.kill(before[1], signal.SIGKILL)
    one.until(lambda: one.process("web.2")["restarts"] == 1 and one.service("web")["state"] == "ready")
    after = [one.pid(f"web.{number}") for number in (1, 2, 3)]
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert after[2] == before[2]


def test_it_gives_up_after_so_many_restarts_and_says_why(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  other: {command: sleep 600}\n  web: {command: sh app.sh, "
        "restart: {max: 50ms, give_up: {times: 3, within: 60s}}}\n",
        {"app.sh": "[ -e broken ] && exit 9; sleep 600"},
    ).start()
    (one.folder / "broken").touch()
    kill(one.pid("web"))
    found = one.until_state("web", "gave-up")
    assert found["reason"] == "restarted 3 times within 60 s; last: exit code 9"
    assert found["pid"] is None
    assert one.status()["state"] == "degraded"
    assert one.ampzero("status", one.folder).code == 6
    assert "restarted 3 times" in one.ampzero("status", one.folder).out
    (one.folder / "broken").unlink()
    assert one.ampzero("start", one.folder, "web").code == 0
    assert one.process("web")["state"] == "ready"


def test_the_pauses_grow_up_to_the_greatest(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh app.sh, "
        "restart: {initial: 100ms, max: 400ms, give_up: {times: 6, within: 60s}}}\n",
        {"app.sh": "[ -e broken ] && { date +%s.%N >> times; exit 9; }; sleep 600"},
    ).start()
    (one.folder / "broken").touch()
    kill(one.pid("web"))
    one.until_state("web", "gave-up")
    times = [float(line) for line in (one.folder / "times").read_text().splitlines()]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(pauses) == 5
    for pause, least in zip(pauses, (0.09, 0.18, 0.36, 0.36, 0.36), strict=True):
        assert pause >= least


def test_restarts_without_any_pause_do_not_overflow(make_running: MakeRunning) -> None:
    """A program that vanished was started again from within its own failure, deeper each time."""
    one = make_running(
        "services:\n  web: {command: ./app.sh, restart: {max: 0s, give_up: {times: 2000, within: 60s}}}\n",
        {"app.sh": "#!/bin/sh\nexec sleep 600\n"},
    )
    (one.folder / "app.sh").chmod(0o755)
    one.start()
    (one.folder / "app.sh").unlink()
    kill(one.pid("web"))
    found = one.until_state("web", "gave-up")
    assert found["reason"].startswith("restarted 2000 times within 60 s; last: cannot start")
    assert one.ampzero("status", one.folder).code == 6


@pytest.mark.parametrize(
    ("policy", "code", "state"),
    [
        ("on-failure", 0, "completed"),
        ("never", 0, "completed"),
        ("never", 5, "failed"),
        ("on-failure", 5, "gave-up"),
        ("always", 0, "gave-up"),
    ],
)
def test_policies(make_running: MakeRunning, policy: str, code: int, state: str) -> None:
    one = make_running(
        "services:\n  web: {command: sh app.sh, "
        f"restart: {{policy: {policy}, max: 10ms, give_up: {{times: 2, within: 60s}}}}}}\n",
        {"app.sh": "while [ ! -e end ]; do sleep 0.05; done; exit $(cat end)"},
    ).start()
    temporary = one.folder / "end.new"
    temporary.write_text(str(code))
    temporary.rename(one.folder / "end")
    found = one.until_state("web", state)
    assert f"exit code {code}" in found["reason"]
    assert found["restarts"] == (2 if state == "gave-up" else 0)


def test_a_commanded_stop_is_no_failure(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh app.sh, ready: {log: up}}\n  other: {command: sleep 600}\n",
        {"app.sh": "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done"},
    ).start()
    assert one.stop("web").code == 0
    found = one.process("web")
    assert (found["state"], found["restarts"], found["reason"]) == ("stopped", 0, "stopped by command")
    assert found["pid"] is None
    assert one.ampzero("start", one.folder, "web").code == 0
    assert one.process("web")["restarts"] == 0


def test_stop_during_the_pause_before_a_restart(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600, restart: {initial: 60s, max: 60s}}\n").start()
    kill(one.pid("web"))
    assert one.until_state("web", "backoff")["reason"] == "killed by SIGKILL"
    assert one.stop("web").code == 0
    assert one.process("web")["state"] == "stopped"
    assert one.ampzero("restart", one.folder, "web").code == 0
    assert one.process("web")["state"] == "ready"


def test_automatic_ports_are_distinct_stay_and_are_free_after_a_stop(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: python3 -m http.server $PORT, processes: 3, port: auto}\n"
    ).start()
    first = [one.process(f"web.{number}")["ports"] for number in (1, 2, 3)]
    assert len({port for ports in first for port in ports}) == 3
    assert one.stop().code == 0
    one.start()
    assert [one.process(f"web.{number}")["ports"] for number in (1, 2, 3)] == first
    kill(one.pid("web.2"))
    one.until(lambda: one.process("web.2")["restarts"] == 1 and one.process("web.2")["state"] == "ready")
    assert one.process("web.2")["ports"] == first[1]


def test_a_fixed_port_counts_up_for_the_other_processes(make_running: MakeRunning) -> None:
    port = unused_port()
    one = make_running(
        f"services:\n  web: {{command: python3 -m http.server $PORT, processes: 2, port: {port}}}\n"
    ).start()
    assert [one.process(f"web.{number}")["ports"] for number in (1, 2)] == [[port], [port + 1]]


def test_restart_gives_every_process_a_new_pid(make_running: MakeRunning) -> None:
    one = make_running("services:\n  a: {command: sleep 600}\n  b: {command: sleep 600}\n").start()
    before = one.pid("a"), one.pid("b")
    assert one.ampzero("restart", one.folder).code == 0
    after = one.pid("a"), one.pid("b")
    assert not set(before) & set(after)
    assert not any(alive(pid) for pid in before)


def test_uptime_and_since_follow_the_newest_child(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n").start()
    pid = one.pid("web")
    one.until(lambda: one.process("web")["uptime"] > 0.5)
    begin = time.monotonic()
    kill(pid)
    assert wait_gone(pid)
    one.until(lambda: one.process("web")["restarts"] == 1 and one.process("web")["state"] == "ready")
    assert one.process("web")["uptime"] < time.monotonic() - begin + 0.1
