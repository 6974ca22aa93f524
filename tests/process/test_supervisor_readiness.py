"""How a process shows that it is ready, and what happens when it never does."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable

import pytest
from hub_support import answer, bad_server
from running_support import PYTHON_HANDLER, Running, alive, carrying, pids_in
from support import unused_port

from lib.ports import has_ipv6

MakeRunning = Callable[..., Running]
PYTHON = sys.executable

LISTENER = """
import socket, sys, time
time.sleep(0.3)
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family) as server:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((sys.argv[1], int(sys.argv[2])))
    server.listen()
    open("listening", "w").close()
    while True:
        other, _ = server.accept()
        if len(sys.argv) > 3:
            if other.recv(100) == b"PING\\r\\n":
                other.sendall(sys.argv[3].encode())
        other.close()
"""

NOTIFIER = """
import os, socket, sys, time
time.sleep(0.3)
open("told", "w").close()
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
    one.connect(os.environ["NOTIFY_SOCKET"])
    one.sendall(b"STATUS=warming up")
    one.sendall(b"MAINPID=1\\nREADY=1\\nSTATUS=up")
    time.sleep(0.3)
    one.sendall(b"STATUS=still up")
open("went on", "w").close()
time.sleep(600)
"""


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_declared_port_is_probed_over_both_families(make_running: MakeRunning, address: str) -> None:
    if address == "::1" and not has_ipv6():
        pytest.skip("this machine has no ::1")
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py '{address}' $PORT, port: auto}}\n",
        {"app.py": LISTENER},
    ).start()
    assert (one.folder / "listening").exists()
    assert one.process("web")["state"] == "ready"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_http_wants_a_good_status(make_running: MakeRunning, address: str) -> None:
    if address == "::1" and not has_ipv6():
        pytest.skip("this machine has no ::1")
    make_running(
        f"services:\n  web: {{command: {PYTHON} app.py '{address}' $PORT, port: auto, "
        "ready: {http: /healthz}}\n",
        {"app.py": PYTHON_HANDLER},
    ).start()


def test_http_that_answers_404_is_not_ready(make_running: MakeRunning) -> None:
    with bad_server(lambda connection, _: connection.sendall(answer(b"", "404 Not Found"))) as url:
        ready = f"{{http: '{url}/other', deadline: 1s}}"
        done = make_running(f"services:\n  web: {{command: sleep 600, ready: {ready}}}\n").run()
    assert done.code == 6
    assert "/other answered 404" in done.err


@pytest.mark.parametrize("server", ["refused", "silent", "garbage", "closing"])
def test_http_of_something_else_is_not_ready(make_running: MakeRunning, server: str) -> None:
    app = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    other, _ = server.accept()
    if sys.argv[2] == "garbage":
        other.sendall(b"\\x00\\xff" * 100000)
    if sys.argv[2] != "silent":
        other.close()
"""
    command = "sleep 600" if server == "refused" else f"{PYTHON} app.py $PORT {server}"
    one = make_running(
        f"services:\n  web: {{command: {command}, port: auto, ready: "
        "{http: /, deadline: 1s, timeout: 300ms}}\n",
        {"app.py": app},
    )
    done = one.run()
    assert done.code == 6
    assert "not ready after 1 s: " in done.err
    assert "http://localhost:" in done.err


def test_tcp_sends_and_expects(make_running: MakeRunning) -> None:
    port = unused_port()
    ready = f'{{tcp: "127.0.0.1:{port}", send: "PING\\r\\n", expect: "+PONG"}}'
    make_running(
        f"services:\n  web: {{command: {PYTHON} app.py 127.0.0.1 {port} +PONG, ready: {ready}}}\n",
        {"app.py": LISTENER},
    ).start()


def test_tcp_with_another_answer_is_not_ready(make_running: MakeRunning) -> None:
    with bad_server(lambda connection, _: connection.sendall(b"-NOPE\r\n")) as url:
        port = url.rpartition(":")[2]
        ready = f'{{tcp: {port}, send: "PING\\r\\n", expect: "+PONG", deadline: 1s}}'
        done = make_running(f"services:\n  web: {{command: sleep 600, ready: {ready}}}\n").run()
    assert done.code == 6
    assert "answered '-NOPE'" in done.err


def test_exec_runs_in_the_surroundings_of_the_process(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh -c 'sleep 0.5; echo $WHO > up; sleep 600', env: {WHO: me}, "
        'ready: {exec: \'test "$(cat up)" = "$WHO" && test "$AMPZERO_PROCESS" = web.1\'}}\n'
    ).start()
    assert (one.folder / "up").read_text() == "me\n"


def test_an_exec_that_hangs_is_ended_and_tried_again(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sleep 600, ready: {exec: 'echo x >> tries; "
        "[ $(wc -l < tries) -ge 3 ] || sleep 600', timeout: 1s, deadline: 60s}}\n"
    ).start()
    assert (one.folder / "tries").read_text().count("x") == 3
    assert len(carrying(f"AMPZERO_VAR={one.var}")) == 1


def test_a_line_of_the_log_makes_ready(make_running: MakeRunning) -> None:
    app = "echo starting; sleep 0.5; touch up; echo >&2 'on port 80: ready'; sleep 600"
    one = make_running(
        "services:\n  web: {command: sh app.sh, ready: {log: 'port \\d+: ready$'}}\n", {"app.sh": app}
    ).start()
    assert (one.folder / "up").exists()


def test_a_log_pattern_with_an_escape_that_bytes_do_not_have_is_refused(make_running: MakeRunning) -> None:
    """`\\u` is fine in a pattern for text; matched against bytes it ended the supervisor."""
    done = make_running("services:\n  web: {command: sleep 600, ready: {log: '\\u00e9'}}\n").run()
    assert done.code == 4
    assert "services.web.ready.log" in done.err


def test_notify_makes_ready_and_goes_on(make_running: MakeRunning) -> None:
    """The socket was closed after READY=1, so that a later STATUS= failed in the process."""
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, ready: {{notify: true}}}}\n", {"app.py": NOTIFIER}
    ).start()
    assert (one.folder / "told").exists()
    one.until(lambda: (one.folder / "went on").exists())
    assert one.process("web")["restarts"] == 0


def test_notify_with_the_longest_name_in_a_deep_folder(make_running: MakeRunning) -> None:
    name = "a-service-with-the-longest-name1"
    assert len(name) == 32
    make_running(
        f"services:\n  {name}: {{command: {PYTHON} app.py, ready: {{notify: true}}}}\n", {"app.py": NOTIFIER}
    ).start()


@pytest.mark.parametrize(
    ("ready", "why"),
    [
        ("{tcp: 1, deadline: 1500ms}", "connection refused"),
        ("{http: 'http://localhost:1/', deadline: 1500ms}", "connection refused"),
        ("{exec: 'exit 3', deadline: 1500ms}", "exit code 3"),
        ("{log: never, deadline: 1500ms}", "no line of its output matched 'never'"),
        ("{notify: true, deadline: 1500ms}", "no READY=1"),
        ("{exec: [/no/such/program], deadline: 1500ms}", "cannot run /no/such/program"),
        ("{tcp: 'unix:/no/such/socket', deadline: 1500ms}", "No such file"),
        ("{tcp: 'a..b:80', deadline: 1500ms}", "a..b:80"),
    ],
)
def test_a_deadline_that_passes_ends_the_start(make_running: MakeRunning, ready: str, why: str) -> None:
    one = make_running(
        "services:\n  other: {command: sh -c 'echo $$ >> pids; exec sleep 600'}\n"
        "  web: {command: sh -c 'echo $$ >> pids; echo its last words; exec sleep 600', "
        f"depends_on: [other], ready: {ready}}}\n"
    )
    done = one.run()
    assert done.code == 6
    assert "ampzero: error: web.1 did not become ready: not ready after 1.5 s: " in done.err
    assert why in done.err
    assert "its last words" in done.err
    assert "hint: ampzero logs " in done.err
    assert "Traceback" not in done.err
    assert not [pid for pid in pids_in(one.folder / "pids", 2) if alive(pid)]
    assert one.ampzero("status", one.folder).code == 10
    assert not carrying(f"AMPZERO_VAR={one.var}")


def test_a_stranger_on_the_port_is_not_taken_for_the_process(make_running: MakeRunning) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = make_running(f"services:\n  web: {{command: sleep 600, port: {port}}}\n").run()
    assert done.code == 7


def test_a_process_without_a_probe_must_live_a_moment(make_running: MakeRunning) -> None:
    done = make_running("services:\n  web: {command: sh -c 'echo oops >&2; exit 7'}\n").run()
    assert done.code == 6
    assert "exit code 7" in done.err
    assert "oops" in done.err


def test_a_slow_start_of_a_command_is_told_and_left_running(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh app.sh, ready: {log: up, deadline: 3s}}\n",
        {"fast": "", "app.sh": "[ -e fast ] && echo up; sleep 600"},
    ).start()
    (one.folder / "fast").unlink()
    done = one.ampzero("restart", one.folder, "web")
    assert done.code == 6
    assert "web.1 did not become ready: not ready after 3 s" in done.err
    assert one.process("web")["state"] == "starting"
    assert one.status()["state"] == "degraded"
    assert one.stop().code == 0
