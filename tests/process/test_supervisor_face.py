"""supervisor's own client against a running instance, its XML-RPC by hand, and those who are no clients."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from faces_support import client, memory, socket_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running_support import Running, wait_gone
from support import Result, wait_for

MakeRunning = Callable[..., Running]
SERVICES = """services:
  web: {command: "sh -c 'echo up $AMPZERO_PROCESS; echo oops >&2; exec sleep 600'", processes: 2}
  db: {command: sleep 600}
"""
SAYS = "services:\n  web: {command: sh say.sh}\n"
SAY = "while :; do mv say said 2>/dev/null && cat said; sleep 0.05; done\n"
"""Prints what `say` has it say."""
ENTITIES = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><methodCall><methodName>supervisor.getPID</methodName>
<params><param><value><string>&c;</string></value></param></params></methodCall>"""


def say(one: Running, text: str) -> None:
    """Have the service print `text`: it finds the whole of it, or nothing yet."""
    whole = one.folder / "whole"
    whole.write_text(text)
    whole.rename(one.folder / "say")


@pytest.fixture
def one(make_running: MakeRunning) -> Running:
    return make_running(SERVICES).start()


def ctl(one: Running, *words: str) -> Result:
    return client("supervisorctl", "-s", f"unix://{socket_of(one, 'supervisor.sock')}", *words)


def said(one: Running, *words: str) -> str:
    done = ctl(one, *words)
    assert done.code == 0, done
    return done.out.rstrip("\n")


class Unix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self._path)


@pytest.fixture
def call(one: Running) -> Iterator[Callable[..., Any]]:
    """Gives `call("supervisor.getPID")`; raises xmlrpc.client.Fault."""
    connection = Unix(socket_of(one, "supervisor.sock"))

    def made(name: str, *params: Any) -> Any:
        connection.request("POST", "/RPC2", xmlrpc.client.dumps(params, name))
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return xmlrpc.client.loads(body)[0][0]

    yield made
    connection.close()


def post(one: Running, body: bytes, path: str = "/RPC2") -> tuple[int, bytes]:
    connection = Unix(socket_of(one, "supervisor.sock"))
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_status_pid_and_avail(one: Running) -> None:
    rows = [line.split() for line in said(one, "status").splitlines()]
    assert [row[:4] for row in rows] == [
        ["db", "RUNNING", "pid", f"{one.pid('db')},"],
        ["web:web.1", "RUNNING", "pid", f"{one.pid('web.1')},"],
        ["web:web.2", "RUNNING", "pid", f"{one.pid('web.2')},"],
    ]
    assert len(said(one, "status", "web:*").splitlines()) == 2
    assert said(one, "pid") == str(one.supervisor)
    assert said(one, "pid", "db") == str(one.pid("db"))
    assert said(one, "pid", "web:web.2") == str(one.pid("web.2"))
    assert said(one, "version") == "4.3.0"
    assert [line.split()[0] for line in said(one, "avail").splitlines()] == ["db", "web:web.1", "web:web.2"]
    assert ctl(one, "status", "nix").code == 4


def test_start_stop_and_restart(one: Running) -> None:
    before = one.pid("db")
    assert said(one, "stop", "db") == "db: stopped"
    assert wait_gone(before)
    stopped = ctl(one, "status", "db")
    assert stopped.code == 3
    assert "STOPPED" in stopped.out
    assert said(one, "start", "db") == "db: started"
    assert "already started" in said(one, "start", "db")
    second = one.pid("db")
    assert said(one, "restart", "db") == "db: stopped\ndb: started"
    assert one.pid("db") != second
    assert said(one, "stop", "web:*") == "web:web.1: stopped\nweb:web.2: stopped"
    assert said(one, "start", "web:*") == "web:web.1: started\nweb:web.2: started"
    assert sorted(said(one, "stop", "all").splitlines()) == [
        "db: stopped",
        "web:web.1: stopped",
        "web:web.2: stopped",
    ]
    assert one.status()["supervisor"]["pid"]
    assert len(said(one, "start", "all").splitlines()) == 3
    assert "no such process" in ctl(one, "stop", "nix").out


def test_one_of_several_processes(one: Running) -> None:
    other = one.pid("web.1")
    assert said(one, "stop", "web:web.2") == "web:web.2: stopped"
    assert one.process("web.2")["state"] == "stopped"
    assert said(one, "start", "web:web.2") == "web:web.2: started"
    assert one.pid("web.1") == other


def test_a_start_that_fails_is_told(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  good: {command: sleep 600}\n  bad: {command: sh bad.sh}\n",
        {"ok": "", "bad.sh": "[ -e ok ] && exec sleep 600\nexit 3\n"},
    ).start()
    (one.folder / "ok").unlink()
    done = ctl(one, "restart", "bad")
    assert "bad: ERROR (abnormal termination)" in done.out
    assert done.code == 7
    shown = ctl(one, "status", "bad")
    assert "FATAL" in shown.out
    assert "exit code 3" in shown.out
    assert shown.code == 3
    (one.folder / "ok").write_text("")
    assert said(one, "start", "bad") == "bad: started"


def test_logs_by_name(one: Running) -> None:
    assert wait_for(lambda: one.output("web") and len(one.output("web")) == 2)
    assert said(one, "tail", "web:web.1") == "up web.1"
    assert said(one, "tail", "-6", "web:web.2") == "web.2"
    assert said(one, "tail", "web:web.2", "stderr") == "oops"
    assert "ready" in said(one, "maintail")
    assert "no such process" in ctl(one, "tail", "nix").out


def test_tail_follows(make_running: MakeRunning) -> None:
    one = make_running(SAYS, {"say.sh": SAY}).start()
    path = Path(sys.executable).parent / "supervisorctl"
    process = subprocess.Popen(
        [str(path), "-s", f"unix://{socket_of(one, 'supervisor.sock')}", "tail", "-f", "web"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    heard = b""
    try:

        def hears(word: bytes) -> bool:
            nonlocal heard
            assert process.stdout is not None
            heard += process.stdout.read() or b""
            return word in heard

        assert wait_for(lambda: hears(b"Ctrl-C"))
        say(one, "first line\n")
        assert wait_for(lambda: hears(b"first line\n")), heard
        say(one, "zweite Zeile ü\n")
        assert wait_for(lambda: hears("zweite Zeile ü\n".encode())), heard
        assert one.stop().code == 0
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        process.stdout.close()


def test_signals(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh hup.sh, ready: {log: up}}\n",
        {"hup.sh": "trap 'echo hup >> got' HUP\necho up\nwhile :; do sleep 0.1; done\n"},
    ).start()
    assert "bad signal name" in ctl(one, "signal", "NIX", "web").out
    assert said(one, "signal", "HUP", "web") == "web: signalled"
    assert wait_for(lambda: (one.folder / "got").exists())


def test_reread_and_update(one: Running) -> None:
    server = f"unix://{socket_of(one, 'supervisor.sock')}"
    assert said(one, "reread") == "No config updates to processes"
    text = (one.folder / "amprun.yaml").read_text()
    (one.folder / "amprun.yaml").write_text(text + "  new: {command: sleep 600}\n")
    assert said(one, "reread") == "new: available"
    assert said(one, "update") == "new: added process group"
    assert "RUNNING" in said(one, "status", "new")
    (one.folder / "amprun.yaml").write_text(text + "  new: {command: sleep 600, nix: 1}\n")
    done = client("supervisorctl", "-s", server, "reread")
    assert done.code == 1
    assert "CANT_REREAD" in done.out
    assert "amprun.yaml:" in done.out, "file, line and column"
    (one.folder / "amprun.yaml").write_text(text.replace("sleep 600}", "sleep 601}"))
    db = one.pid("db")
    assert said(one, "reread") == "db: changed\nnew: disappeared"
    assert one.pid("db") == db, "a look changes nothing"
    out = said(one, "update").splitlines()
    assert "new: removed process group" in out
    assert "db: updated process group" in out
    assert [line.split()[0] for line in said(one, "status").splitlines()] == ["db", "web:web.1", "web:web.2"]
    assert "sleep 601" in Path(f"/proc/{one.pid('db')}/cmdline").read_text().replace("\0", " ")


def test_shutdown(one: Running) -> None:
    pids = [one.supervisor, one.pid("web.1"), one.pid("web.2"), one.pid("db")]
    assert said(one, "shutdown") == "Shut down"
    assert all(wait_gone(pid) for pid in pids)
    assert not list(one.var.glob("run/*.sock"))


def test_calls_by_hand(one: Running, call: Callable[..., Any]) -> None:
    assert call("supervisor.getState") == {"statecode": 1, "statename": "RUNNING"}
    assert call("supervisor.getAPIVersion") == "3.0"
    assert call("supervisor.getIdentification") == "demo"
    info = call("supervisor.getProcessInfo", "web:web.2")
    assert (info["name"], info["group"], info["state"], info["pid"]) == ("web.2", "web", 20, one.pid("web.2"))
    assert info["start"] <= info["now"]
    assert "supervisor.startProcess" in call("system.listMethods")
    assert "Start" in call("system.methodHelp", "supervisor.startProcess")
    results = call(
        "system.multicall",
        [
            {"methodName": "supervisor.getPID", "params": []},
            {"methodName": "nix"},
            {"methodName": "system.multicall"},
        ],
    )
    assert results[0] == one.supervisor
    assert [each["faultCode"] for each in results[1:]] == [1, 2]
    before = one.pid("web.1")
    assert [each["status"] for each in call("supervisor.stopProcessGroup", "web", True)] == [80, 80]
    assert call("supervisor.startProcess", "web", False)
    one.until_state("web.1", "ready")
    assert one.pid("web.1") != before


def test_tail_goes_on_where_it_was(make_running: MakeRunning) -> None:
    one = make_running(SAYS, {"say.sh": SAY}).start()

    def tail(offset: int, length: int = 100) -> Any:
        body = xmlrpc.client.dumps(("web", offset, length), "supervisor.tailProcessStdoutLog")
        return xmlrpc.client.loads(post(one, body.encode())[1])[0][0]

    def said(text: str) -> None:
        lines = len(one.output("web"))
        say(one, text)
        assert wait_for(lambda: len(one.output("web")) > lines)

    said("one\n")
    text, offset, missed = tail(0)
    assert (text, missed) == ("one\n", False)
    assert tail(offset)[0] == ""
    said("two <&> \x01\n")
    assert tail(offset)[0] == "two <&> ?\n"
    assert tail(0, 4) == ["> ?\n", tail(0)[1], True]


@pytest.mark.parametrize(
    "name",
    [
        "supervisor.supervisord.options.execve", "supervisor.plan", "supervisor._handle",
        "supervisor.__class__", "__init__", "supervisor.call", "system.supervisor.getPID",
        "supervisor.getPID.__self__", "getPID",
    ],
)  # fmt: skip
def test_only_the_table_can_be_called(one: Running, call: Callable[..., Any], name: str) -> None:
    """CVE-2017-11610: a dotted name was followed from object to object, to os.system."""
    with pytest.raises(xmlrpc.client.Fault) as fault:
        call(name)
    assert fault.value.faultCode == 1


def test_no_entity_is_expanded(one: Running) -> None:
    assert post(one, ENTITIES.encode()) == (400, b"a document type is refused\n")
    assert said(one, "pid") == str(one.supervisor)


def test_wrong_parameters_are_faults(one: Running, call: Callable[..., Any]) -> None:
    for name, params in (
        ("supervisor.startProcess", ()), ("supervisor.startProcess", (1,)), ("supervisor.getPID", ("x",)),
        ("supervisor.readProcessStdoutLog", ("db", "0", 5)), ("system.multicall", ([1],) * 2),
        ("supervisor.readProcessStdoutLog", ("db", 0, -5)), ("system.multicall", ("x",)),
        ("supervisor.stopProcess", ("db" * 999,)),
    ):  # fmt: skip
        with pytest.raises(xmlrpc.client.Fault):
            call(name, *params)
    assert one.process("db")["state"] == "ready"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"NONSENSE\r\n\r\n", b"400"), (b"GET /RPC2 HTTP/1.1\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /logtail/nix HTTP/1.1\r\n\r\n", b"404"), (b"GET /logtail/../../etc HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /logtail/web/../../x HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"POST /RPC2 HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", b"413"),
        (b"POST /RPC2 HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /RPC2 HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", b"400"),
        (b"POST /RPC2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"501"),
        (b"POST /RPC2 HTTP/1.1\r\nContent-Length: 3\r\n\r\n<a>", b"400"),
    ],
    ids=range(12),
)  # fmt: skip
def test_requests_that_are_none(one: Running, request_bytes: bytes, status: bytes) -> None:
    assert exchange(socket_of(one, "supervisor.sock"), request_bytes).split(b" ")[1] == status


def exchange(path: str, request: bytes) -> bytes:
    """What comes back until the server closes or has said all."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(30)
        raw.connect(path)
        with suppress(OSError):
            raw.sendall(request)
            raw.shutdown(socket.SHUT_WR)
        found = b""
        with suppress(OSError):
            while block := raw.recv(65536):
                found += block
    return found


def test_garbage(one: Running) -> None:
    supervisor, path = one.supervisor, socket_of(one, "supervisor.sock")
    assert said(one, "pid") == str(supervisor)
    before = memory(supervisor)
    names = ("methodCall", "methodName", "params", "param", "value", "array", "data", "struct", "member")
    element = st.sampled_from([*names, "name", "int", "i4", "boolean", "string", "double", "nil", "x"])
    tree = st.recursive(
        st.text("0123456789-.abc &;<", max_size=6).map(lambda text: text.replace("<", "&lt;")),
        lambda inner: st.tuples(element, st.lists(inner, max_size=4)).map(
            lambda pair: f"<{pair[0]}>{''.join(pair[1])}</{pair[0]}>"
        ),
        max_leaves=15,
    )
    bodies = (
        st.binary(max_size=300)
        | tree.map(str.encode)
        | tree.map(
            lambda inside: (
                f"<methodCall><methodName>supervisor.getPID</methodName>{inside}</methodCall>".encode()
            )
        )
    )

    @settings(max_examples=200, suppress_health_check=list(HealthCheck))
    @given(bodies, st.booleans())
    def fuzz(body: bytes, framed: bool) -> None:
        if framed:
            body = b"POST /RPC2 HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        exchange(path, body)

    fuzz()
    deep = b"<methodCall><methodName>x</methodName>" + b"<value>" * 20_000
    assert post(one, deep)[0] == 400
    assert post(one, b"<methodCall>" + b"<params/>" * 25_000)[0] == 400
    assert said(one, "pid") == str(supervisor)
    assert memory(supervisor) - before < 8 * 1024 * 1024
    assert (one.var / "run/supervisor.err").read_text() == ""


def test_slow_clients_keep_nobody_out(one: Running) -> None:
    supervisor, path = one.supervisor, socket_of(one, "supervisor.sock")
    assert said(one, "pid") == str(supervisor)
    before = memory(supervisor)
    slow: list[socket.socket] = []
    try:
        for number in range(150):
            half = socket.socket(socket.AF_UNIX)
            half.connect(path)
            half.settimeout(30)
            with suppress(OSError):
                half.sendall(
                    (b"", b"P", b"POST /RPC2 HTTP/1.1\r\nContent-Length: 200000\r\n\r\n<met")[number % 3]
                )
            slow.append(half)
        assert said(one, "pid") == str(supervisor)
    finally:
        for half in slow:
            half.close()
    assert memory(supervisor) - before < 16 * 1024 * 1024
    assert (one.var / "run/supervisor.err").read_text() == ""


def test_a_tail_that_is_not_read_costs_no_memory(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh flood.sh}\n",
        {"flood.sh": "while :; do head -c 50000 /dev/zero | tr '\\0' x; echo; done\n"},
    ).start()
    path = socket_of(one, "supervisor.sock")
    stuck = []
    try:
        for _ in range(4):
            raw = socket.socket(socket.AF_UNIX)
            raw.connect(path)
            raw.sendall(b"GET /logtail/web HTTP/1.1\r\n\r\n")
            assert raw.recv(10)
            stuck.append(raw)
        supervisor = one.supervisor
        before = memory(supervisor)
        lines = len(one.output("web"))
        assert wait_for(lambda: len(one.output("web")) > lines + 200)
        assert memory(supervisor) - before < 24 * 1024 * 1024
        assert said(one, "pid") == str(supervisor)
        assert one.stop().code == 0
    finally:
        for raw in stuck:
            raw.close()
