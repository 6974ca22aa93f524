"""The supervisor itself: killed, told to end, run twice, asked when it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from running_support import Running, alive, carrying, kill, wait_gone
from support import Ampzero, wait_for

MakeRunning = Callable[..., Running]

TWO = "services:\n  web: {command: python3 -m http.server $PORT, port: auto}\n  job: {command: sleep 600}\n"


def test_run_after_a_kill_of_the_supervisor_takes_over_what_it_left(make_running: MakeRunning) -> None:
    one = make_running(TWO).start()
    old = [one.pid("web"), one.pid("job")]
    ports = one.process("web")["ports"]
    kill(supervisor := one.supervisor)
    assert wait_gone(supervisor)
    done = one.run()
    assert done.code == 0, done
    assert [one.pid("web"), one.pid("job")] == old
    assert one.process("web")["adopted"]
    assert one.process("web")["ports"] == ports
    assert one.supervisor != supervisor


def test_a_guardian_ends_everything_when_the_supervisor_of_on_crash_stop_is_killed(
    make_running: MakeRunning,
) -> None:
    one = make_running(f"on_crash: stop\n{TWO}").start()
    old = [one.pid("web"), one.pid("job")]
    kill(one.supervisor)
    assert all(wait_gone(pid) for pid in old)
    assert one.run().code == 0
    assert not set(old) & {one.pid("web"), one.pid("job")}


def test_stop_after_a_kill_of_the_supervisor_ends_what_it_left(make_running: MakeRunning) -> None:
    one = make_running(TWO).start()
    old = [one.pid("web"), one.pid("job")]
    kill(supervisor := one.supervisor)
    assert wait_gone(supervisor)
    asked = one.ampzero("status", one.folder)
    assert asked.code == 10
    assert "the supervisor of demo died; 2 processes" in asked.err
    done = one.stop()
    assert done.code == 0, done
    assert "ended 2 processes" in done.err
    assert not any(alive(pid) for pid in old)
    assert one.stop().code == 10


def test_quit_after_a_kill_of_the_supervisor_does_not_wait_for_the_deaf(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh app.sh, ready: {log: up}}\n",
        {"app.sh": "trap '' TERM PIPE; echo up; while :; do sleep 0.1; done"},
    ).start()
    kill(supervisor := one.supervisor)
    assert wait_gone(supervisor)
    assert one.ampzero("quit", one.folder).code == 0
    assert not carrying(f"AMPZERO_VAR={one.var}")


def test_a_stop_hears_that_the_supervisor_was_killed_meanwhile(make_running: MakeRunning) -> None:
    """It waited an hour for an answer."""
    one = make_running(
        "services:\n  web: {command: sh app.sh, ready: {log: up}, stop: {timeout: 100s}}\n",
        {"app.sh": "trap '' TERM; echo up; while :; do sleep 0.1; done"},
    ).start()
    results = []
    stopper = threading.Thread(target=lambda: results.append(one.stop()))
    supervisor = one.supervisor
    stopper.start()
    one.until(lambda: one.process("web")["state"] == "stopping")
    kill(supervisor)
    stopper.join(60)
    assert [done.code for done in results] == [10]


def test_term_to_the_supervisor_stops_gracefully(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh app.sh, ready: {log: up}}\n",
        {"app.sh": "trap 'touch graceful; exit' TERM; echo up; while :; do sleep 0.05; done"},
    ).start()
    os.kill(supervisor := one.supervisor, signal.SIGTERM)
    assert wait_gone(supervisor)
    assert (one.folder / "graceful").exists()
    assert not carrying(f"AMPZERO_VAR={one.var}")
    assert one.ampzero("status", one.folder).code == 10


def test_a_second_term_quits(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh app.sh, ready: {log: up}, stop: {timeout: 100s}}\n",
        {"app.sh": "trap '' TERM; echo up; while :; do sleep 0.05; done"},
    ).start()
    os.kill(supervisor := one.supervisor, signal.SIGTERM)
    one.until(lambda: one.process("web")["state"] == "stopping")
    os.kill(supervisor, signal.SIGTERM)
    assert wait_gone(supervisor)
    assert not carrying(f"AMPZERO_VAR={one.var}")


def test_a_terminal_that_closes_ends_nothing_and_children_hear_hup(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n").start()
    supervisor, pid = one.supervisor, one.pid("web")
    os.kill(supervisor, signal.SIGHUP)
    ignored = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigIgn:")
    )
    assert not int(ignored.split()[1], 16) & 1 << (signal.SIGHUP - 1)
    assert one.status()["state"] == "ready"
    assert alive(supervisor)


def test_children_hear_hup_also_below_nohup(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n")
    done = subprocess.run(["nohup", one.ampzero.path, "run", one.folder], capture_output=True, timeout=60)
    assert done.returncode == 0, done
    os.kill(one.pid("web"), signal.SIGHUP)
    one.until(lambda: one.process("web")["restarts"] == 1)


def test_a_second_run_shows_the_status_and_starts_nothing(make_running: MakeRunning) -> None:
    one = make_running(TWO).start()
    before = one.status()
    done = one.run()
    assert done.code == 0
    assert "is running already" in done.err
    assert "web.1" in done.out
    after = one.status()
    assert after["supervisor"] == before["supervisor"]
    assert [each["processes"][0]["pid"] for each in after["services"]] == [
        each["processes"][0]["pid"] for each in before["services"]
    ]


def test_of_many_runs_at_once_one_starts_it(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sh -c 'echo $$ >> pids; exec sleep 600'}\n")
    results = []
    threads = [threading.Thread(target=lambda: results.append(one.run())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [done.code for done in results] == [0, 0, 0, 0], results
    assert sum("is ready" in done.out for done in results) == 1
    assert len((one.folder / "pids").read_text().split()) == 1


def test_asking_for_the_status_all_the_time_does_not_keep_it_from_starting(
    make_running: MakeRunning, ampzero: Ampzero
) -> None:
    """Whether it runs was found out by taking its lock, so that a run at that moment saw it taken."""
    from lib.files import Lock

    one = make_running("services:\n  web: {command: sleep 600}\n")
    one.start()
    assert one.stop().code == 0
    lock = Lock(one.var / "run" / "lock")
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            lock.is_held()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(5):
            assert "is ready" in one.run().out
            assert one.stop().code == 0
    finally:
        over.set()
        thread.join()


def test_the_starter_that_is_interrupted_leaves_nothing(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  slow: {command: sh -c 'echo $$ > pid; sleep 600', ready: {log: never, deadline: 60s}}\n"
    )
    process = subprocess.Popen([one.ampzero.path, "run", one.folder], stderr=subprocess.PIPE)
    assert wait_for(lambda: (one.folder / "pid").exists() and (one.folder / "pid").read_text())
    pid = int((one.folder / "pid").read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert not alive(pid)
    assert one.ampzero("status", one.folder).code == 10


def test_a_starter_that_is_killed_does_not_end_the_start(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  slow: {command: sh app.sh, ready: {log: up}}\n",
        {"app.sh": "echo $$ > pid; while [ ! -e go ]; do sleep 0.05; done; echo up; sleep 600"},
    )
    process = subprocess.Popen([one.ampzero.path, "run", one.folder], stderr=subprocess.DEVNULL)
    assert wait_for(lambda: (one.folder / "pid").exists() and (one.folder / "pid").read_text())
    process.kill()
    process.wait(60)
    (one.folder / "go").touch()
    one.until(lambda: one.status()["state"] == "ready")


def test_a_supervisor_that_is_killed_during_the_start_leaves_nothing(make_running: MakeRunning) -> None:
    """The start failed, and what had been started ran on."""
    one = make_running(
        "services:\n  slow: {command: sh -c 'echo $$ > pid; sleep 600', ready: {log: never, deadline: 60s}}\n"
    )
    results = []
    starter = threading.Thread(target=lambda: results.append(one.run()))
    starter.start()
    assert wait_for(lambda: (one.folder / "pid").exists() and (one.folder / "pid").read_text())
    kill(one.supervisor)
    starter.join(60)
    assert results[0].code == 1
    assert "the supervisor ended before it was ready" in results[0].err
    assert not carrying(f"AMPZERO_VAR={one.var}")
