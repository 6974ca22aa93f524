"""The supervisor killed at many moments: the next run takes over what lives; nothing is lost or doubled."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from running_support import Running, alive, carrying, kill, pids_in, wait_gone
from support import wait_for

from lib.supervisor import tree
from lib.supervisor.journal import Journal, Record, replay

MakeRunning = Callable[..., Running]

PYTHON = sys.executable

COUNTER = """
import itertools, os, sys, time
with open("pids", "a") as pids:
    pids.write(f"{os.getpid()}\\n")
for number in itertools.count():
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
    time.sleep(float(sys.argv[1]))
"""
"""A child that numbers its lines."""

ENDS_ON_FILE = """
import os, sys, time
while not os.path.exists(sys.argv[1]): time.sleep(0.02)
"""


def die(one: Running) -> None:
    """Kill the supervisor, as kill -9 does."""
    supervisor = one.supervisor
    kill(supervisor)
    assert wait_gone(supervisor)


def kill_when_there(one: Running) -> None:
    """Kill the supervisor as soon as its lock names it; for moments when it does not answer yet."""
    found: list[int] = []

    def there() -> bool:
        found[:] = supervisors(one)
        return bool(found)

    assert wait_for(there, step=0.001)
    kill(*found)
    assert all(wait_gone(pid) for pid in found)


def supervisors(one: Running) -> list[int]:
    """The pids of supervisors whose errors go to this instance's file."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            target = str((folder / "fd/2").readlink())
        except OSError:
            continue
        if target == str(one.root / one.folder.name / "run/supervisor.err"):
            found.append(int(folder.name))
    return found


def numbers(one: Running, service: str = "web") -> list[int]:
    return [int(line) for line in one.output(service)]


def assert_counts_on(found: list[int]) -> None:
    """No line of a single numbering child is missing or there twice."""
    assert found == list(range(len(found))), [
        (before, after) for before, after in itertools.pairwise(found) if after != before + 1
    ]


def test_lines_and_restarts_go_on(make_running: MakeRunning) -> None:
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} counter.py 0.001}}\n  job: {{command: sleep 600}}\n",
        {"counter.py": COUNTER},
    ).start()
    kill(one.pid("job"))
    one.until(lambda: one.process("job")["restarts"] == 1 and one.process("job")["state"] == "ready")
    pids = one.pid("web"), one.pid("job")
    for _ in range(4):
        die(one)
        assert one.run().code == 0
        assert (one.pid("web"), one.pid("job")) == pids
    assert one.process("job")["restarts"] == 1
    seen = len(numbers(one))
    one.until(lambda: len(numbers(one)) > seen + 100)
    assert_counts_on(numbers(one))
    kill(pids[1])
    one.until(lambda: one.process("job")["restarts"] == 2)
    assert "adopted" in str([text for *_, text in one.records("job")])


def test_nothing_is_lost_while_nobody_reads_until_the_pipe_is_full(make_running: MakeRunning) -> None:
    one = make_running(f"services:\n  web: {{command: {PYTHON} counter.py 0}}\n", {"counter.py": COUNTER})
    one.start()
    die(one)
    pid = pids_in(one.folder / "pids")[0]
    # It is blocked in its write: it uses no time any more.
    assert wait_for(lambda: cpu_ticks(pid) == (wait_for(lambda: False, 0.3), cpu_ticks(pid))[1])
    assert alive(pid)
    assert one.run().code == 0
    assert one.pid("web") == pid
    seen = len(numbers(one))
    one.until(lambda: len(numbers(one)) > seen + 1000)
    one.ampzero("stop", one.folder)
    found = numbers(one)
    # A kill between the read and the write of a block costs that block at most; nothing is there twice.
    assert sorted(set(found)) == found
    assert len(range(found[-1])) - len(found) < 300_000


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_an_unfinished_line_is_finished_after_the_crash(make_running: MakeRunning) -> None:
    program = (
        "import os, time\n"
        "os.write(1, b'first\\n')\n"
        "while not os.path.exists('go'): time.sleep(0.02)\n"
        "os.write(1, b'second half\\n')\ntime.sleep(600)\n"
    )
    one = make_running(f"services:\n  web: {{command: {PYTHON} app.py}}\n", {"app.py": program}).start()
    one.until(lambda: one.output("web") == [b"first"])
    die(one)
    (one.folder / "go").touch()
    assert one.run().code == 0
    one.until(lambda: one.output("web") == [b"first", b"second half"])


def test_states_are_kept(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n"
        "  web: {command: sleep 600}\n"
        "  stopped: {command: sleep 600}\n"
        "  job: {command: 'true', restart: {policy: on-failure}}\n"
        "  cron: {command: 'false', schedule: '0 0 1 1 *'}\n"
        f"  bad:\n    command: {PYTHON} ends.py die\n"
        "    restart: {max: 100ms, give_up: {times: 3, within: 60s}}\n",
        {"ends.py": ENDS_ON_FILE + "sys.exit(3)\n"},
    ).start()  # fmt: skip
    assert one.stop("stopped").code == 0
    one.until_state("job", "completed")
    (one.folder / "die").touch()
    one.until_state("bad", "gave-up", 60)
    before = {
        each["name"]: (each["processes"][0]["state"], each["wanted"], each["restarts"])
        for each in one.status()["services"]
    }
    reason = one.process("bad")["reason"]
    assert "restarted 3 times" in reason
    die(one)
    one.run()
    after = {
        each["name"]: (each["processes"][0]["state"], each["wanted"], each["restarts"])
        for each in one.status()["services"]
    }
    assert after == before
    assert one.process("bad")["reason"] == reason
    assert one.ampzero("start", one.folder, "stopped").code == 0
    assert one.process("stopped")["state"] == "ready"


def test_where_nothing_lives_the_run_begins_anew(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  job: {command: sh -c 'echo ran', restart: {policy: on-failure}}\n"
        "  cron: {command: 'true', schedule: '0 0 1 1 *'}\n"
    ).start()
    one.until_state("job", "completed")
    die(one)
    assert one.run().code == 0
    one.until_state("job", "completed")
    assert one.process("cron")["state"] == "scheduled"
    assert one.output("job") == [b"ran", b"ran"]


def test_a_changed_service_is_replaced_and_an_unknown_one_ended(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sleep 600}\n  other: {command: sleep 600}\n"
        "  gone: {command: sleep 600}\n"
    ).start()
    old = {name: one.pid(name) for name in ("web", "other", "gone")}
    die(one)
    (one.folder / "amprun.yaml").write_text(
        f"name: demo\namprun_root_directory: {one.root}\n"
        "services:\n  web: {command: sleep 600}\n  other: {command: sleep 601}\n"
    )
    assert one.run().code == 0
    assert one.pid("web") == old["web"]
    assert one.pid("other") != old["other"]
    assert not alive(old["other"])
    assert not alive(old["gone"])


def test_a_pid_that_is_another_process_by_now_is_not_adopted(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n").start()
    pid = one.pid("web")
    die(one)
    kill(pid)
    journal = one.var / "state/journal"
    record = replay(journal)["web.1"]
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        try:
            # The same pid as far as the journal knows, started at another time.
            with journal.open("ab") as file:
                text = {"process": "web.1", "state": "ready", "since": record.since, "pid": stranger.pid,
                        "started": record.started, "spawn": record.spawn, "spec": record.spec}  # fmt: skip
                file.write(json.dumps(text).encode() + b"\n")
            assert one.run().code == 0
            assert one.pid("web") != stranger.pid
            assert one.ampzero("stop", one.folder).code == 0
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_child_that_the_journal_does_not_know_is_ended(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n").start()
    pid = one.pid("web")
    die(one)
    # As if the kill had come between the start and the journal's line.
    (one.var / "state/journal").write_bytes(b'{"process": "web.1", "state": "waiting", "since": 1.0}\n{"proc')
    assert one.run().code == 0
    assert not alive(pid)
    assert alive(one.pid("web"))
    assert len(carrying(f"AMPZERO_VAR={one.var}")) == 1


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment_of_the_start(make_running: MakeRunning, seed: int) -> None:
    services = "".join(
        f"  s{n}: {{command: {PYTHON} counter.py 0.05, depends_on: [{'' if not n else f's{n - 1}'}]}}\n"
        for n in range(5)
    )
    one = make_running(f"services:\n{services}", {"counter.py": COUNTER})
    chance = random.Random(seed)
    for _ in range(3):
        starter = threading.Thread(target=one.run)
        starter.start()
        assert wait_for(lambda: supervisors(one), step=0.001)
        wait_for(lambda: False, chance.random() * 0.6)
        kill(*supervisors(one))
        starter.join(60)
    one.start()
    living = {one.pid(f"s{n}") for n in range(5)}
    assert set(carrying(f"AMPZERO_VAR={one.var}")) == living
    assert one.stop().code == 0
    assert not carrying(f"AMPZERO_VAR={one.var}")


@pytest.mark.parametrize("seed", range(1))
def test_killed_in_the_middle_of_restarts_and_scales(make_running: MakeRunning, seed: int) -> None:
    one = make_running(
        "services:\n  web: {command: sleep 600, processes: 2}\n  other: {command: sleep 600}\n"
    ).start()
    other = one.pid("other")
    chance = random.Random(seed)
    for words in (("restart", "--rolling", one.folder, "web"), ("scale", one.folder, "web=5"),
                  ("restart", one.folder, "web"), ("scale", one.folder, "web=1")):  # fmt: skip
        supervisor = one.supervisor
        worker = threading.Thread(target=one.ampzero, args=words)
        worker.start()
        wait_for(lambda: False, 0.2 + chance.random() * 0.5)
        kill(supervisor)
        assert wait_gone(supervisor)
        worker.join(60)
        assert one.run().code == 0
        assert one.pid("other") == other, (words, one.records("supervisor"), one.records("other"))
        status = one.status()
        assert status["state"] == "ready"
        known = {p["pid"] for each in status["services"] for p in each["processes"]}
        assert None not in known
        assert set(carrying(f"AMPZERO_VAR={one.var}")) == known
    assert one.stop().code == 0
    assert not carrying(f"AMPZERO_VAR={one.var}")


def test_two_runs_at_once_after_the_death(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600, processes: 3}\n").start()
    pids = [one.pid(f"web.{n}") for n in (1, 2, 3)]
    die(one)
    results = []
    threads = [threading.Thread(target=lambda: results.append(one.run())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [done.code for done in results] == [0] * 4, results
    assert len(supervisors(one)) == 1
    assert [one.pid(f"web.{n}") for n in (1, 2, 3)] == pids


@pytest.mark.parametrize("word", ["stop", "quit"])
def test_what_overwrites_its_environment_is_found(make_running: MakeRunning, word: str) -> None:
    one = overwriter(make_running).start()
    pid = one.pid("web")
    assert not [item for item in tree.environ(pid) if item.startswith(b"AMPZERO_VAR")]
    die(one)
    assert one.run().code == 0
    assert one.pid("web") == pid
    die(one)
    assert one.ampzero(word, one.folder).code == 0
    assert not alive(pid)


def overwriter(make_running: MakeRunning, more: str = "") -> Running:
    """A child whose environment does not show our mark any more, as that of nginx and redis."""
    program = "import os, sys\nos.execve('/bin/sleep', ['sleep', '600'], {})\n"
    return make_running(f"{more}services:\n  web: {{command: {PYTHON} app.py}}\n", {"app.py": program})


def test_a_guardian_finds_what_overwrites_its_environment(make_running: MakeRunning) -> None:
    one = overwriter(make_running, "on_crash: stop\n").start()
    pid = one.pid("web")
    one.until(lambda: not tree.environ(pid) - {b""})
    kill(one.supervisor)
    assert wait_gone(pid)


def test_a_guardian_ends_daemons_too(make_running: MakeRunning) -> None:
    daemon = (
        "import os, time\n"
        "def note():\n"
        "    with open('pids', 'a') as file: file.write(f'{os.getpid()}\\n')\n"
        "note()\n"
        "if os.fork() == 0:\n    os.setsid()\n"
        "    if os.fork() == 0:\n        note()\n        time.sleep(600)\n    os._exit(0)\n"
        "time.sleep(600)\n"
    )
    one = make_running(
        f"on_crash: stop\nservices:\n  web: {{command: {PYTHON} app.py}}\n", {"app.py": daemon}
    )
    one.start()
    pids = pids_in(one.folder / "pids", 2)
    kill(one.supervisor)
    assert all(wait_gone(pid) for pid in pids)


def test_a_run_while_the_guardian_cleans_up_waits_for_it(make_running: MakeRunning) -> None:
    one = make_running(
        "on_crash: stop\nservices:\n  web: {command: sh app.sh, ready: {log: up}}\n",
        {"app.sh": "trap '' TERM; echo up; while :; do sleep 0.1; done"},
    ).start()
    old = one.pid("web")
    kill(one.supervisor)
    done = one.run()
    assert done.code == 0, done
    assert not alive(old)
    assert one.process("web")["state"] == "ready"


def test_an_adopted_tree_is_ended_whole(make_running: MakeRunning) -> None:
    daemon = (
        "import os, time\n"
        "def note():\n"
        "    with open('pids', 'a') as file: file.write(f'{os.getpid()}\\n')\n"
        "note()\n"
        "if os.fork() == 0:\n    os.setsid()\n"
        "    if os.fork() == 0:\n        note()\n        time.sleep(600)\n    os._exit(0)\n"
        "time.sleep(600)\n"
    )
    one = make_running(f"services:\n  web: {{command: {PYTHON} app.py}}\n", {"app.py": daemon}).start()
    pids = pids_in(one.folder / "pids", 2)
    die(one)
    assert one.run().code == 0
    assert all(alive(pid) for pid in pids)
    assert one.stop("web").code == 0
    assert not any(alive(pid) for pid in pids)


def test_many_children_are_adopted_quickly(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600, processes: 150}\n").start()
    pids = {process["pid"] for process in one.service("web")["processes"]}
    die(one)
    assert one.run().code == 0
    assert {process["pid"] for process in one.service("web")["processes"]} == pids
    assert one.stop().code == 0


def test_held_sockets_are_taken_back(make_running: MakeRunning, free_port: Callable[[], int]) -> None:
    import socket

    port = free_port()
    app = (
        "import socket\nlistener = socket.socket(fileno=3)\n"
        "while True:\n    one, _ = listener.accept()\n    one.send(b'yes')\n    one.close()\n"
    )
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, listen: [{port}, 'unix:web.sock']}}\n",
        {"app.py": app},
    ).start()
    pid = one.pid("web")

    def ask() -> bytes:
        with socket.create_connection(("127.0.0.1", port), 30) as client:
            client.settimeout(30)
            return client.recv(10)

    assert ask() == b"yes"
    die(one)
    assert ask() == b"yes"
    assert one.run().code == 0
    assert one.pid("web") == pid
    inode = (one.folder / "web.sock").stat().st_ino
    assert one.ampzero("restart", one.folder, "web").code == 0
    assert ask() == b"yes"
    assert (one.folder / "web.sock").stat().st_ino == inode
    pid = one.pid("web")
    kill(pid)
    assert wait_gone(pid)  # else it may still take the connection, and die with it
    assert ask() == b"yes"
    assert one.stop().code == 0
    assert not (one.folder / "web.sock").exists()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def test_a_short_write_does_not_spoil_the_next_line_of_the_journal(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "journal"
    journal = Journal(path, {})
    for number in range(20):
        journal.write(Record(process=f"web.{number}", state="ready", since=1.0, pid=number + 1))
    size = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # The disk is full in the middle of the next line.
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
        journal.write(Record(process="web.3", state="backoff", since=2.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    journal.write(Record(process="web.4", state="stopped", since=3.0))
    found = replay(path)
    assert found["web.4"].state == "stopped"
    assert found["web.3"].state == "backoff"
