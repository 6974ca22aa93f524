"""circus's own clients against a running instance: circusctl, circus-top, a SUB socket; and garbage."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from faces_support import client, memory, socket_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running_support import Running, kill, wait_gone
from support import Result, wait_for

MakeRunning = Callable[..., Running]
SERVICES = """services:
  web: {command: sleep 600, processes: 2, env: {TOKEN: "very-secret"}}
  db: {command: "sh -c 'sleep 601 & wait'"}
"""
DEAF = (
    "  slow: {command: sh -c 'trap \"\" TERM; echo up; while :; do sleep 0.1; done',"
    " ready: {log: up}, stop: {timeout: 100s}}\n"
)
"""A service whose stop takes longer than any test: until it is killed."""


@pytest.fixture
def one(make_running: MakeRunning) -> Running:
    return make_running(SERVICES).start()


def ctl(one: Running, *words: str) -> Result:
    endpoint = f"ipc://{socket_of(one, 'circus.sock')}"
    return client("circusctl", "--endpoint", endpoint, "--timeout", "30", *words)


def said(one: Running, *words: str) -> str:
    done = ctl(one, *words)
    assert done.code == 0, done
    return done.out.strip()


class Raw:
    """A DEALER that sends what it likes."""

    def __init__(self, path: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(f"ipc://{path}")

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart(list(frames))

    def ask(self, request: dict[str, Any], seconds: float = 20) -> dict[str, Any]:
        """The answer with the request's id; others are passed over."""
        self.send(json.dumps(request).encode())
        until = time.monotonic() + seconds
        while self.socket.poll(max(1, int((until - time.monotonic()) * 1000))):
            found: dict[str, Any] = json.loads(self.socket.recv_multipart()[-1])
            if found.get("id") == request["id"]:
                return found
        raise AssertionError(f"no answer to {request}")

    def close(self) -> None:
        self._context.destroy(0)


@pytest.fixture
def raw(one: Running) -> Iterator[Raw]:
    made = Raw(socket_of(one, "circus.sock"))
    yield made
    made.close()


def test_circusctl_tells_what_there_is(one: Running) -> None:
    pids = [one.pid("web.1"), one.pid("web.2")]
    assert said(one, "list") == "db,web"
    assert said(one, "list", "web") == ",".join(map(str, pids))
    assert said(one, "status") == "db: active\nweb: active"
    assert said(one, "status", "web") == "active"
    assert said(one, "numwatchers") == "2"
    assert said(one, "numprocesses") == "3"
    assert said(one, "numprocesses", "web") == "2"
    assert said(one, "listsockets") == ""
    assert "circus-stats.sock" in said(one, "globaloptions", "stats_endpoint")


def test_circusctl_stats(one: Running) -> None:
    lines = said(one, "stats").splitlines()
    assert lines[0] == "web:"
    assert lines[1].startswith(f"{one.pid('web.1')}: {one.pid('web.1')}  sleep ")
    below = [line for line in lines if line.startswith("   ")]
    assert len(below) == 1
    assert "sleep" in below[0], "the child of db's shell"
    assert str(one.pid("web.2")) in said(one, "stats", "web", str(one.pid("web.2")))
    assert str(one.supervisor) in said(one, "dstats")
    info = json.loads(said(one, "--json", "stats", "db"))["info"][str(one.pid("db"))]
    assert {
        "cpu",
        "mem",
        "mem_info1",
        "mem_info2",
        "ctime",
        "age",
        "create_time",
        "nice",
        "username",
        "wid",
    } <= set(info)
    assert abs(info["create_time"] - time.time()) < 60


def test_circusctl_options_keep_secrets(one: Running) -> None:
    out = said(one, "options", "web")
    assert "cmd: sleep" in out
    assert "graceful_timeout: 10.0" in out
    assert "very-secret" not in out
    assert said(one, "get", "web", "numprocesses", "stop_signal") == "numprocesses: 2\nstop_signal: 15"
    assert ctl(one, "get", "web", "nix").code == 3


def test_circusctl_stops_and_starts(one: Running) -> None:
    db = one.pid("db")
    assert said(one, "stop", "db", "--waiting") == "ok"
    assert wait_gone(db)
    assert said(one, "status", "db") == "stopped"
    assert said(one, "list", "db") == ""
    assert said(one, "start", "db", "--waiting") == "ok"
    again = one.pid("db")
    assert said(one, "restart", "d*", "--waiting") == "ok"
    assert one.pid("db") != again
    assert said(one, "status", "db") == "active"
    before = one.pid("web.1")
    assert said(one, "reload", "web", "--waiting") == "ok"
    assert one.pid("web.1") != before


def test_circusctl_stops_without_waiting(make_running: MakeRunning) -> None:
    """circusctl itself waits for 30 seconds here; the stop of this one takes longer."""
    one = make_running(f"services:\n{DEAF}").start()
    assert said(one, "stop", "slow") == "ok"
    assert said(one, "status", "slow") == "stopping"
    kill(one.pid("slow"))
    one.until_state("slow", "stopped")


def test_circusctl_hears_of_errors(one: Running) -> None:
    for words, expected in (
        (("stop", "nix"), "program nix not found"),
        (("list", "nix"), "program nix not found"),
        (("signal", "db", "NIX"), "signal invalid"),
        (("rm", "db"), "amprun.yaml"),
        (("set", "web", "warmup_delay", "5"), "only numprocesses"),
        (("stop", "(a+)+b", "--match", "regex"), "regular expressions"),
        (("incr", "nix"), "program nix not found"),
    ):
        done = ctl(one, *words)
        assert done.code == 3, done
        assert expected in done.err
    assert said(one, "status") == "db: active\nweb: active"


def test_circusctl_scales(one: Running) -> None:
    assert said(one, "incr", "web", "2", "--waiting") == "4"
    assert said(one, "numprocesses", "web") == "4"
    assert said(one, "decr", "web", "--waiting") == "3"
    assert said(one, "set", "web", "numprocesses", "1", "--waiting") == "ok"
    one.until(lambda: said(one, "numprocesses", "web") == "1")


def test_circusctl_signals(make_running: MakeRunning) -> None:
    one = make_running(
        'services:\n  web: {command: sh -c \'trap "echo usr1 >> got" USR1; echo up; while :; do sleep 0.1;'
        " done',"
        " ready: {log: up}}\n"
    ).start()
    assert said(one, "signal", "web", "USR1") == "ok"
    assert wait_for(lambda: (one.folder / "got").exists())
    assert said(one, "signal", "web", str(one.pid("web")), "10") == "ok"
    assert wait_for(lambda: (one.folder / "got").read_text() == "usr1\nusr1\n")


def test_signal_reaches_the_children_only(one: Running) -> None:
    child = int(said(one, "--json", "stats", "db").split('"children"')[1].split('"pid": ')[1].split(",")[0])
    before = one.pid("db")
    assert said(one, "signal", "db", "STOP", "--children") == "ok"
    assert wait_for(lambda: state(child) == "T")
    assert state(before) == "S"
    os.kill(child, signal.SIGCONT)


def state(pid: int) -> str:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat[stat.rfind(")") + 2]


def test_quit_ends_everything(one: Running) -> None:
    pids = [one.pid("web.1"), one.pid("web.2"), one.pid("db")]
    supervisor = one.supervisor
    assert said(one, "quit", "--waiting") == "ok"
    assert wait_gone(supervisor)
    assert all(wait_gone(pid) for pid in pids)
    assert not list(one.var.glob("run/*.sock"))


def test_events_on_a_plain_sub_socket(one: Running) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as sub:
        sub.setsockopt(zmq.LINGER, 0)
        sub.subscribe("watcher.db.")
        sub.connect(f"ipc://{socket_of(one, 'circus-events.sock')}")
        heard: list[tuple[str, dict[str, Any]]] = []

        def all_heard() -> bool:
            # A subscription needs a moment to arrive, so the change is caused until it is heard.
            before = one.pid("db")
            one.ampzero("restart", one.folder, "db")
            while sub.poll(200):
                topic, body = sub.recv_multipart()
                heard.append((topic.decode(), json.loads(body)))
            names = [topic for topic, _ in heard]
            return ("watcher.db.reap", before) in [
                (name, body.get("process_pid")) for name, body in heard
            ] and ("watcher.db.kill" in names and "watcher.db.spawn" in names and "watcher.db.start" in names)

        assert wait_for(all_heard), heard
        pid = one.pid("db")
        heard.clear()
        os.kill(pid, signal.SIGKILL)
        while not heard or heard[-1][0] != "watcher.db.ready":
            assert sub.poll(30_000), heard
            topic, body = sub.recv_multipart()
            heard.append((topic.decode(), json.loads(body)))
    assert [topic.rpartition(".")[2] for topic, _ in heard] == ["reap", "spawn", "start", "ready"]
    assert heard[0][1]["process_pid"] == pid
    assert heard[0][1]["exit_code"] == -9
    assert heard[1][1]["process_pid"] == one.pid("db")
    assert abs(heard[0][1]["time"] - time.time()) < 60


def test_circus_top_shows_the_processes(one: Running) -> None:
    path = str(Path(sys.executable).parent / "circus-top")
    endpoint = f"ipc://{socket_of(one, 'circus-stats.sock')}"
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", LINES="40", COLUMNS="120")
        os.execv(path, [path, "--endpoint", endpoint])  # noqa: S606 -- no shell is wanted
    shown = ""
    wanted = [
        f"{one.pid('web.1')}",
        f"{one.pid('db')}",
        f"{one.supervisor} (circusd)",
        "MEMORY (%)",
        "web",
        "db",
    ]
    try:

        def complete() -> bool:
            nonlocal shown
            if select.select([terminal], [], [], 0.2)[0]:
                shown += os.read(terminal, 65536).decode(errors="replace")
            return all(word in shown for word in wanted)

        assert wait_for(complete), shown
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def test_requests_do_not_wait_for_each_other(make_running: MakeRunning) -> None:
    one = make_running(f"services:\n{DEAF}  quick: {{command: sleep 600}}\n").start()
    raw = Raw(socket_of(one, "circus.sock"))
    try:
        slow = {"id": "slow", "command": "stop", "properties": {"name": "slow", "waiting": True}}
        raw.send(json.dumps(slow).encode())
        restart = {"id": "quick", "command": "restart", "properties": {"name": "quick", "waiting": True}}
        assert raw.ask(restart)["status"] == "ok"
        assert one.process("slow")["state"] == "stopping"
        kill(one.pid("slow"))
    finally:
        raw.close()


def test_a_cast_gets_no_answer(raw: Raw) -> None:
    raw.send(b'{"id": "a", "command": "list", "msg_type": "cast", "properties": {}}')
    assert raw.ask({"id": "b", "command": "list"})["watchers"] == ["db", "web"]
    assert not raw.socket.poll(300)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
HARMLESS = ["list", "status", "numprocesses", "numwatchers", "stats", "options", "get", "globaloptions",
            "dstats", "listsockets", "add", "rm", "listen", "nix", "__class__", "", "run"]  # fmt: skip
PROPERTIES = st.dictionaries(
    st.sampled_from(["name", "process", "keys", "option", "options", "match", "nb", "pid", "waiting"]),
    JSON | st.sampled_from(["web", "db", "*", "WEB"]), max_size=4,
)  # fmt: skip


def test_garbage_and_strange_requests(make_running: MakeRunning) -> None:
    one = make_running(SERVICES).start()
    supervisor, path = one.supervisor, socket_of(one, "circus.sock")
    pids = [one.pid(name) for name in ("web.1", "web.2", "db.1")]
    raw = Raw(path)
    raw.ask({"id": "warm", "command": "stats"})
    before = memory(supervisor)

    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    @given(
        st.binary(max_size=200)
        | JSON.map(lambda value: json.dumps(value).encode())
        | st.tuples(st.sampled_from(HARMLESS) | JSON, PROPERTIES | JSON).map(
            lambda pair: json.dumps({"id": "f", "command": pair[0], "properties": pair[1]}).encode()
        ),
        st.booleans(),
    )
    def fuzz(message: bytes, more: bool) -> None:
        raw.send(*([b"", message] if more else [message]))
        assert raw.ask({"id": "after", "command": "numwatchers"})["numwatchers"] == 2

    try:
        fuzz()
        raw.send(b"[" * 60_000)
        raw.send(b"1" * 60_000)
        assert raw.ask({"id": "z", "command": "numwatchers"})["numwatchers"] == 2
    finally:
        raw.close()
    assert memory(supervisor) - before < 16 * 1024 * 1024
    assert [one.pid(name) for name in ("web.1", "web.2", "db.1")] == pids
    assert (one.var / "run/supervisor.err").read_text() == ""


def test_huge_and_half_and_slow_clients(one: Running) -> None:
    supervisor, path = one.supervisor, socket_of(one, "circus.sock")
    assert said(one, "numwatchers") == "2"
    before = memory(supervisor)
    huge = Raw(path)
    slow: list[socket.socket] = []
    flood = Raw(path)
    try:
        huge.send(b'{"id": "' + b"x" * 30_000_000 + b'"}')
        for kind in ("circus.sock", "circus-events.sock", "circus-stats.sock", "control.sock", "events.sock"):
            for start in (
                b"",
                b"\xff",
                b"GET / HTTP/1.1\r\n\r\n",
                b"\xff\0\0\0\0\0\0\0\x01\x7f\x03",
                os.urandom(2000),
            ):
                half = socket.socket(socket.AF_UNIX)
                half.connect(str(Path(path).with_name(kind)))
                half.sendall(start)
                slow.append(half)
        for number in range(3000):
            # Nobody reads the answers: they must not pile up.
            flood.send(json.dumps({"id": number, "command": "stats"}).encode())
        assert said(one, "numwatchers") == "2"
        assert one.ampzero("status", one.folder).code == 0
    finally:
        huge.close()
        flood.close()
        for half in slow:
            half.close()
    assert memory(supervisor) - before < 32 * 1024 * 1024
    assert (one.var / "run/supervisor.err").read_text() == ""
