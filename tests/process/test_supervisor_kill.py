"""A stop ends the whole tree, whatever it did to get away, and says so only when it is true."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from running_support import Running, alive, carrying, kill, pids_in, wait_gone
from support import wait_for

from lib import ports

MakeRunning = Callable[..., Running]
PYTHON = sys.executable

DAEMON = """
import os, signal, time
path = os.path.abspath("pids")
def note():
    with open(path, "a") as stream:
        stream.write(f"{os.getpid()}\\n")
note()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.chdir("/")
        note()
        time.sleep(600)
    os._exit(0)
time.sleep(600)
"""

DEAF = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(2):
    if os.fork() == 0:
        break
with open("pids", "a") as stream:
    stream.write(f"{os.getpid()}\\n")
while True:
    time.sleep(1)
"""

FORKER = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
end = time.monotonic() + 60
with open("pids", "a") as stream:
    while time.monotonic() < end:
        # At any time only few are alive: each hands over to its child and ends.
        if os.fork():
            os.wait() if len(sys.argv) > 1 else os._exit(0)
        os.setsid()
        stream.write(f"{os.getpid()}\\n")
        stream.flush()
        time.sleep(0.002)
"""


def nothing_left(one: Running) -> bool:
    return not carrying(f"AMPZERO_VAR={one.var}")


@pytest.mark.parametrize("command", ["stop", "quit"])
def test_children_that_ignore_term_are_killed(make_running: MakeRunning, command: str) -> None:
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, stop: {{timeout: 500ms}}}}\n", {"app.py": DEAF}
    ).start()
    pids = pids_in(one.folder / "pids", 3)
    assert one.ampzero(command, one.folder).code == 0
    assert not any(alive(pid) for pid in pids)
    assert nothing_left(one)


def test_quit_does_not_wait(make_running: MakeRunning) -> None:
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, stop: {{timeout: 100s}}}}\n", {"app.py": DEAF}
    ).start()
    pids = pids_in(one.folder / "pids", 3)
    # A stop would outlast the command's deadline of 60 s.
    assert one.ampzero("quit", one.folder).code == 0
    assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize("whole", [True, False])
def test_a_daemon_that_forked_twice_is_found(make_running: MakeRunning, whole: bool) -> None:
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, stop: {{timeout: 500ms}}}}\n"
        "  other: {command: sleep 600}\n",
        {"app.py": DAEMON},
    ).start()
    pids = pids_in(one.folder / "pids", 2)
    other = one.pid("other")
    assert one.stop(*([] if whole else ["web"])).code == 0
    assert not any(alive(pid) for pid in pids)
    assert alive(other) is not whole


def test_what_outlives_a_leader_that_crashed_is_ended_and_the_service_restarted(
    make_running: MakeRunning,
) -> None:
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, stop: {{timeout: 1s}}}}\n", {"app.py": DAEMON}
    ).start()  # fmt: skip
    leader, stray = pids_in(one.folder / "pids", 2)
    kill(leader)
    assert wait_gone(stray)
    newer = pids_in(one.folder / "pids", 4)[2:]
    one.until_state("web", "ready")
    assert all(alive(pid) for pid in newer)
    assert one.stop().code == 0
    assert nothing_left(one)


def test_the_group_of_a_leader_that_crashed_goes_with_it(make_running: MakeRunning) -> None:
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, restart: {{initial: 60s, max: 60s}}}}\n",
        {"app.py": DEAF},
    ).start()
    pids = pids_in(one.folder / "pids", 3)
    kill(one.pid("web"))
    assert all(wait_gone(pid) for pid in pids)


def test_stop_right_after_a_crash_ends_the_strays(make_running: MakeRunning) -> None:
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, restart: {{initial: 60s, max: 60s}}, "
        "stop: {timeout: 200ms}}\n  other: {command: sleep 600}\n",
        {"app.py": DAEMON},
    ).start()
    leader, stray = pids_in(one.folder / "pids", 2)
    kill(leader)
    assert one.stop("web").code == 0
    assert not alive(stray)


@pytest.mark.parametrize("keeping", ["", " keep"])
def test_what_forks_faster_than_one_looks_is_frozen_first(make_running: MakeRunning, keeping: str) -> None:
    one = make_running(
        f"services:\n  web: {{command: sh -c '{PYTHON} app.py{keeping}; sleep 600', "
        "ready: {log: up}, stop: {timeout: 300ms}}\n",
        {"app.py": FORKER},
    ).start()
    pids_in(one.folder / "pids", 20)
    done = one.ampzero("quit", one.folder, timeout=50)
    assert done.code == 0, done
    assert nothing_left(one)


def test_a_shell_around_a_command_takes_it_along(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: 'sleep 601 & echo $! >> pids; sleep 602; true', shell: true}\n"
    ).start()
    pid = pids_in(one.folder / "pids")[0]
    assert one.stop().code == 0
    assert not alive(pid)
    assert nothing_left(one)


def test_a_graceful_stop_leaves_the_children_their_time(make_running: MakeRunning) -> None:
    """The leader ends first; what it started may still finish, as its own stop time allows."""
    app = "(trap 'sleep 1; touch finished; exit' TERM; touch up; while :; do sleep 0.05; done) &\nwait\n"
    one = make_running(
        "services:\n  web: {command: sh app.sh, ready: {exec: test -e up}}\n", {"app.sh": app}
    ).start()
    assert one.stop().code == 0
    assert (one.folder / "finished").exists()


@pytest.mark.parametrize("name", ["INT", "SIGUSR1"])
def test_the_stop_signal_is_the_configured_one(make_running: MakeRunning, name: str) -> None:
    short = name.removeprefix("SIG")
    app = f"trap 'touch heard; exit' {short}; trap '' TERM; echo up; while :; do sleep 0.05; done"
    one = make_running(
        f"services:\n  web: {{command: bash app.sh, ready: {{log: up}}, stop: {{signal: {name}}}}}\n",
        {"app.sh": app},
    ).start()
    assert one.stop().code == 0
    assert (one.folder / "heard").exists()


def test_stop_proves_the_ports_free(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh -c 'python3 -m http.server $PORT; true', port: auto, processes: 2}\n"
    ).start()
    wanted = [one.process(f"web.{number}")["ports"][0] for number in (1, 2)]
    assert set(ports.taken(wanted)) == set(wanted)
    done = one.stop()
    assert done.code == 0
    assert ports.ports_free(wanted)


def test_stop_names_a_stranger_on_a_port_of_the_instance(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sleep 600, port: auto, ready: {exec: 'true'}}\n"
    ).start()  # fmt: skip
    port = one.process("web")["ports"][0]
    with socket.create_server(("127.0.0.1", port)):
        done = one.stop()
    assert done.code == 9
    assert f"port {port}" in done.err
    assert f"pid {os.getpid()}" in done.err


def test_a_stopped_child_can_be_ended(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600, stop: {timeout: 500ms}}\n").start()
    pid = one.pid("web")
    os.kill(pid, signal.SIGSTOP)
    assert one.stop().code == 0
    assert not alive(pid)


def test_orphans_are_reaped(make_running: MakeRunning) -> None:
    one = make_running(
        'services:\n  web: {command: sh -c \'for i in 1 2 3 4 5; do (setsid sh -c "sleep 0.1" &); done; '
        "exec sleep 600'}\n"
    ).start()
    supervisor = one.supervisor

    def zombies() -> list[Path]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == supervisor and fields[0] == "Z":
                found.append(folder)
        return found

    # They may be seen for an instant; they must not stay.
    assert wait_for(lambda: not zombies())
