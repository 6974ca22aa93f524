"""Services start after what they depend on, together where they may, and stop in the reverse order."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from running_support import Running, alive, kill, pids_in
from support import wait_for

MakeRunning = Callable[..., Running]

NOTE = """
import pathlib, signal, sys, time
name, delay = sys.argv[1], float(sys.argv[2])
log = pathlib.Path("events")
def note(what):
    with log.open("a") as stream:
        stream.write(f"{what} {name}\\n")
def end(*_):
    time.sleep(delay)
    note("end")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
note("begin")
time.sleep(delay)
note("ready")
print("ready", flush=True)
while True:
    signal.pause()
"""


def note(name: str, delay: float = 0.2, more: str = "") -> str:
    return f"  {name}: {{command: {sys.executable} note.py {name} {delay}, ready: {{log: ^ready}}{more}}}\n"


MEETS = "echo >> met; until [ $(wc -l < met) -ge $1 ]; do sleep 0.05; done; echo ready; exec sleep 600\n"
"""Ready when so many of its kind are there: which they would never be, if each waited for the one before."""


def meets(name: str, count: int, more: str = "") -> str:
    return f"  {name}: {{command: sh meets.sh {count}, ready: {{log: ^ready, deadline: 30s}}{more}}}\n"


def events(one: Running) -> list[str]:
    return (one.folder / "events").read_text().splitlines()


def test_a_service_starts_when_what_it_needs_is_ready(make_running: MakeRunning) -> None:
    services = note("c", more=", depends_on: [b]") + note("b", more=", depends_on: [a]") + note("a")
    one = make_running(f"services:\n{services}", {"note.py": NOTE}).start()
    assert events(one) == ["begin a", "ready a", "begin b", "ready b", "begin c", "ready c"]


def test_services_stop_after_those_that_need_them(make_running: MakeRunning) -> None:
    services = note("c", more=", depends_on: [b]") + note("b", more=", depends_on: [a]") + note("a")
    one = make_running(f"services:\n{services}", {"note.py": NOTE}).start()
    (one.folder / "events").write_text("")
    assert one.stop().code == 0
    assert events(one) == ["end c", "end b", "end a"]


def test_started_does_not_wait_for_readiness(make_running: MakeRunning) -> None:
    services = meets("b", 2, ", depends_on: {a: started}") + meets("a", 2)
    make_running(f"services:\n{services}", {"meets.sh": MEETS}).start()


def test_what_does_not_depend_starts_together(make_running: MakeRunning) -> None:
    services = "".join(meets(name, 4) for name in ("a", "b", "c", "d"))
    make_running(f"services:\n{services}", {"meets.sh": MEETS}).start()


def test_completed_successfully_waits_for_the_end_of_a_job(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n"
        "  web: {command: sleep 600, depends_on: {migrate: completed_successfully}}\n"
        "  migrate: {command: sh -c 'sleep 0.5; echo done > migrated', restart: {policy: on-failure}}\n"
    ).start()
    assert (one.folder / "migrated").read_text() == "done\n"
    assert one.process("migrate")["state"] == "completed"
    assert one.process("web")["state"] == "ready"
    assert one.status()["state"] == "ready"


def test_a_failed_job_fails_the_start_of_what_needs_its_success(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n"
        "  web: {command: sh -c 'touch started; sleep 600', depends_on: {migrate: completed_successfully}}\n"
        "  migrate: {command: sh -c 'echo no table; exit 4', restart: {policy: never}}\n"
    )
    done = one.run()
    assert done.code == 6
    assert "migrate.1 did not become ready: exit code 4" in done.err
    assert "no table" in done.err
    assert not (one.folder / "started").exists()


def test_a_job_that_may_fail_does_not_fail_the_start(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n"
        "  web: {command: sleep 600, depends_on: {seed: completed}}\n"
        "  seed: {command: sh -c 'exit 4', restart: {policy: never}}\n"
    ).start()
    assert one.process("web")["state"] == "ready"
    assert one.process("seed")["state"] == "failed"
    assert one.status()["state"] == "ready"


def test_start_of_one_service_starts_what_it_needs(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  db: {command: sleep 600}\n  web: {command: sleep 600, depends_on: [db]}\n"
        "  other: {command: sleep 600}\n"
    ).start()
    assert one.stop("web", "db", "other").code == 0
    assert one.ampzero("start", one.folder, "web").code == 0
    states = {each["name"]: each["state"] for each in one.status()["services"]}
    assert states == {"db": "ready", "web": "ready", "other": "stopped"}


def test_start_of_everything_does_not_run_a_completed_job_again(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  job: {command: sh -c 'echo x >> ran', restart: {policy: on-failure}}\n"
        "  web: {command: sleep 600, depends_on: {job: completed_successfully}}\n"
    ).start()
    assert one.ampzero("start", one.folder).code == 0
    assert one.stop("web").code == 0
    assert one.ampzero("start", one.folder, "web").code == 0
    assert (one.folder / "ran").read_text() == "x\n"
    assert one.ampzero("start", one.folder, "job").code == 0
    assert (one.folder / "ran").read_text() == "x\nx\n"


def test_stop_pre_empts_a_start_that_is_under_way(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  slow: {command: sh -c 'echo $$ > pid; sleep 600', ready: {log: never, deadline: 60s}}\n"
    )
    results = []
    starter = threading.Thread(target=lambda: results.append(one.run()))
    starter.start()
    pid = pids_in(one.folder / "pid")[0]
    stopped = one.stop()
    starter.join(60)
    assert stopped.code == 0, stopped
    assert results[0].code == 130
    assert "stopped while it was starting" in results[0].err
    assert not alive(pid)


def test_stop_of_one_service_lets_the_start_of_the_others_go_on(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n"
        "  slow: {command: sh -c 'echo $$ > pid; sleep 600', ready: {log: never, deadline: 60s}}\n"
        "  quick: {command: sleep 600}\n"
    )
    results = []
    starter = threading.Thread(target=lambda: results.append(one.run()))
    starter.start()
    pids_in(one.folder / "pid")
    assert one.stop("slow").code == 0
    starter.join(60)
    assert results[0].code == 0, results
    assert one.process("quick")["state"] == "ready"


def test_a_start_that_waits_for_a_stopped_service_says_so_and_ends(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n"
        "  db: {command: sh -c 'echo $$ > pid; sleep 600', ready: {log: never, deadline: 60s}}\n"
        "  web: {command: sleep 600, depends_on: [db]}\n"
    )
    results = []
    starter = threading.Thread(target=lambda: results.append(one.run()))
    starter.start()
    pids_in(one.folder / "pid")
    assert one.stop("db").code == 0
    starter.join(60)
    assert results[0].code == 6
    assert "web waits for db, which was stopped" in results[0].err


def test_status_shows_what_a_waiting_process_waits_for(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n"
        "  db: {command: sh -c 'echo $$ > pid; sleep 600', ready: {log: never, deadline: 60s}}\n"
        "  web: {command: sleep 600, depends_on: [db]}\n"
    )
    starter = threading.Thread(target=one.run)
    starter.start()
    pids_in(one.folder / "pid")
    assert one.status()["state"] == "starting"
    assert one.process("web")["state"] == "waiting"
    assert one.process("web")["waits_for"] == ["db (starting)"]
    assert "waits for db (starting)" in one.ampzero("status", one.folder).out
    one.stop()
    starter.join(60)


def test_stop_and_start_at_once_leave_the_service_running(make_running: MakeRunning) -> None:
    """A start that came while the service was stopping waited for ever."""
    one = make_running(
        "services:\n  web: {command: sh app.sh, ready: {log: up}, stop: {timeout: 60s}}\n",
        {
            "app.sh": "trap 'while [ ! -e go ]; do sleep 0.05; done; exit' TERM\necho up\n"
            "while :; do sleep 0.1; done\n"
        },
    ).start()
    results = []
    stopper, starter = (
        threading.Thread(target=lambda verb=verb: results.append(one.ampzero(verb, one.folder, "web").code))
        for verb in ("stop", "start")
    )
    stopper.start()
    one.until(lambda: one.process("web")["state"] == "stopping")
    starter.start()
    one.until(lambda: one.service("web")["wanted"])
    assert one.process("web")["state"] == "stopping"
    (one.folder / "go").touch()
    for thread in (stopper, starter):
        thread.join(60)
    assert results == [0, 0]
    assert one.process("web")["state"] == "ready"


def test_two_stops_at_once_both_succeed(make_running: MakeRunning) -> None:
    """The second ran into a state that does not follow, and was never answered."""
    one = make_running(
        "services:\n  web: {command: sh -c 'trap \"sleep 0.5; exit\" TERM; while :; do sleep 0.1; done'}\n"
        "  other: {command: sleep 600}\n"
    ).start()
    results = []
    threads = [threading.Thread(target=lambda: results.append(one.stop("web"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [done.code for done in results] == [0, 0, 0]
    assert one.process("web")["state"] == "stopped"


def test_quit_overtakes_a_stop(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh -c 'trap \"\" TERM; echo up; while :; do sleep 0.1; done',"
        " ready: {log: up}, stop: {timeout: 50s}}\n"
    ).start()
    results = []
    stopper = threading.Thread(target=lambda: results.append(one.stop()))
    stopper.start()
    one.until(lambda: one.process("web")["state"] == "stopping")
    assert one.ampzero("quit", one.folder).code == 0
    stopper.join(60)
    assert results[0].code in (0, 10), results


def test_commands_for_different_services_do_not_wait_for_each_other(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  slow: {command: sh -c 'trap \"\" TERM; echo up; while :; do sleep 0.1; done',"
        " ready: {log: up}, stop: {timeout: 100s}}\n  quick: {command: sleep 600}\n"
    ).start()
    stopper = threading.Thread(target=one.stop, args=("slow",))
    stopper.start()
    one.until(lambda: one.process("slow")["state"] == "stopping")
    assert one.ampzero("restart", one.folder, "quick").code == 0
    assert one.process("slow")["state"] == "stopping"
    assert one.process("quick")["state"] == "ready"
    kill(one.pid("slow"))
    stopper.join(60)
    assert one.process("slow")["state"] == "stopped"


def test_events_tell_every_change_of_a_process(make_running: MakeRunning, tmp_path: Path) -> None:
    import zmq

    one = make_running("services:\n  web: {command: sleep 600}\n").start()
    path = one.status()["sockets"]["events"]
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.subscribe("process.web.")
        socket.connect(f"ipc://{path}")
        states: list[str] = []

        def heard() -> bool:
            # A subscription needs a moment to arrive, so the change is caused until it is heard.
            one.ampzero("restart", one.folder, "web")
            while socket.poll(100):
                topic, body = socket.recv_multipart()
                assert topic == b"process.web.1"
                states.append(json.loads(body)["state"])
            return "ready" in states

        assert wait_for(heard)
    assert set(states) <= {"stopping", "stopped", "waiting", "starting", "ready"}
