"""The node runtime as it runs: several processes under a real supervisor, asked over their own sockets."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from node_support import UnixConnection, fetch, make_application
from support import Ampzero, wait_for

from lib.instance import Instance
from lib.loader import load_instance
from lib.login import LoginLinks

TEMPLATE = Path(__file__).parents[2] / "instance_template/ampnode"
SERVICES = """services:
  redis: {}
  ampnode: {processes: 2}
  ticker: {command: "while :; do echo tick tack; sleep 0.2; done", shell: true}
"""


def unique_name() -> str:
    """Ports are first chosen by the instance's name, and tests run side by side."""
    return f"demo-{uuid.uuid4().hex[:8]}"


class Running:
    """A running instance with two node processes."""

    def __init__(self, instance: Instance, ampzero: Ampzero) -> None:
        self.instance = instance
        self.ampzero = ampzero
        self.sockets = [instance.sockets / f"ampnode.{number}.sock" for number in (1, 2)]

    def status(self) -> dict[str, Any]:
        """The parsed `status --json`."""
        done = self.ampzero("status", self.instance.directory, "--json")
        assert done.code in (0, 6), done.err
        status: dict[str, Any] = json.loads(done.out)
        return status

    def process(self, name: str) -> dict[str, Any]:
        """One process of the status."""
        processes = [process for service in self.status()["services"] for process in service["processes"]]
        found: dict[str, Any] = next(process for process in processes if process["name"] == name)
        return found

    def came_back(self, name: str) -> bool:
        """Whether the process was restarted once and is ready again."""
        process = self.process(name)
        return bool(process["restarts"] == 1 and process["state"] == "ready")

    def sign_in(self) -> str:
        """A cookie."""
        token = LoginLinks(self.instance.state).make()
        return fetch(self.sockets[0], "POST", "/login", {"token": token}).cookie

    def csrf(self, cookie: str) -> str:
        """The token of the session's forms."""
        page = fetch(self.sockets[1], "GET", "/", cookie=cookie).text
        return page.partition('<meta name="csrf" content="')[2].partition('"')[0]


@pytest.fixture
def running(make_instance: Callable[..., Path], ampzero: Ampzero) -> Running:
    folder = make_instance(SERVICES, unique_name())
    shutil.copytree(TEMPLATE, folder / "ampnode")
    result = ampzero("run", folder)
    assert result.code == 0, result.err
    return Running(load_instance(str(folder)), ampzero)


class Stream:
    """An open event stream; what came is in `events`, in a thread of its own."""

    def __init__(self, socket: Path, cookie: str, query: str = "") -> None:
        self.connection = UnixConnection(socket, timeout=30)
        self.connection.request("GET", f"/_ampzero/stream?{query}", headers={"Cookie": cookie})
        self.response = self.connection.getresponse()
        assert self.response.status == 200
        assert self.response.getheader("content-type", "").startswith("text/event-stream")
        self.events: list[tuple[str, Any]] = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        event = ""
        try:
            while line := self.response.readline().decode():
                name, _, value = line.rstrip("\n").partition(": ")
                if name == "event":
                    event = value
                elif name == "data":
                    self.events.append((event, json.loads(value)))
        except OSError:
            pass
        self.ended.set()

    def lines(self) -> list[dict[str, Any]]:
        """All log lines that came."""
        return [line for event, data in list(self.events) if event == "logs" for line in data["lines"]]

    def last_status(self) -> dict[str, dict[str, Any]]:
        """The newest status, by the service's name."""
        statuses = [data for event, data in list(self.events) if event == "status"]
        return {service["name"]: service for service in statuses[-1]["services"]} if statuses else {}


def test_of_both_processes_one_redeems_a_link_and_both_know_the_session(running: Running) -> None:
    for _ in range(5):
        token = LoginLinks(running.instance.state).make()
        answers: list[int] = []
        barrier = threading.Barrier(8)

        def redeem(
            socket: Path,
            token: str = token,
            answers: list[int] = answers,
            barrier: threading.Barrier = barrier,
        ) -> None:
            barrier.wait()
            answers.append(fetch(socket, "POST", "/login", {"token": token}).status)

        threads = [threading.Thread(target=redeem, args=(running.sockets[n % 2],)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [303] + [403] * 7

    cookie = running.sign_in()
    for socket in running.sockets:
        assert fetch(socket, "GET", "/_ampzero/status", cookie=cookie).status == 200
    form = {"csrf": running.csrf(cookie)}
    assert fetch(running.sockets[1], "POST", "/logout", form, cookie=cookie).status == 303
    for socket in running.sockets:
        assert fetch(socket, "GET", "/_ampzero/status", cookie=cookie).status == 401


def test_the_example_module_counts_over_all_processes(running: Running) -> None:
    for count, number in enumerate((0, 1, 1, 0), start=1):
        page = fetch(running.sockets[number], "GET", "/hello").text
        assert f"was shown {count} time" in page and f"ampnode.{number + 1}" in page


def test_the_stream_shows_a_kill_and_the_log_as_it_happens(running: Running) -> None:
    cookie = running.sign_in()
    stream = Stream(running.sockets[0], cookie, "service=ticker&search=TACK")
    assert wait_for(lambda: stream.last_status().get("redis", {}).get("state") == "ready")
    before = len(stream.lines())
    assert wait_for(lambda: len(stream.lines()) > before + 3)
    assert all(line["service"] == "ticker" and line["text"] == "tick tack" for line in stream.lines())

    redis = running.process("redis.1")
    os.kill(redis["pid"], signal.SIGKILL)

    def is_back() -> bool:
        shown = stream.last_status()["redis"]
        return bool(shown["state"] == "ready" and shown["restarts"] == 1)

    assert wait_for(is_back, seconds=5)
    assert stream.last_status()["redis"]["processes"][0]["pid"] != redis["pid"]


def test_a_stream_ends_when_its_session_does(running: Running) -> None:
    cookie = running.sign_in()
    stream = Stream(running.sockets[0], cookie)
    assert wait_for(lambda: bool(stream.last_status()))
    fetch(running.sockets[1], "POST", "/logout", {"csrf": running.csrf(cookie)}, cookie=cookie)
    assert stream.ended.wait(10)
    assert stream.events[-1] == ("over", {})


def test_a_restart_waits_for_no_open_stream_and_ends_no_session(running: Running) -> None:
    cookie = running.sign_in()
    stream = Stream(running.sockets[0], cookie)
    assert wait_for(lambda: bool(stream.last_status()))
    started = time.monotonic()
    os.kill(running.process("ampnode.1")["pid"], signal.SIGTERM)
    assert stream.ended.wait(10)
    assert time.monotonic() - started < 2
    assert wait_for(lambda: running.came_back("ampnode.1"))
    assert fetch(running.sockets[0], "GET", "/_ampzero/status", cookie=cookie).status == 200


def test_the_buttons_act_on_the_supervisor(running: Running) -> None:
    cookie = running.sign_in()
    form = {"csrf": running.csrf(cookie)}

    def press(action: str, service: str) -> int:
        both = {**form, "action": action, "service": service}
        return fetch(running.sockets[0], "POST", "/_ampzero/control", both, cookie=cookie).status

    before = running.process("redis.1")["pid"]
    assert press("restart", "redis") in (200, 202)
    assert wait_for(lambda: running.process("redis.1")["pid"] not in (before, None))
    assert press("stop", "ticker") in (200, 202)
    assert wait_for(lambda: running.process("ticker.1")["state"] == "stopped")
    assert press("start", "ticker") in (200, 202)
    assert wait_for(lambda: running.process("ticker.1")["pid"] is not None)
    assert press("stop", "nobody") == 409
    # The button that ends the process which answers it: no deadlock, and the answer still comes.
    started = time.monotonic()
    assert press("restart", "ampnode") in (200, 202)
    assert time.monotonic() - started < 5
    assert wait_for(lambda: running.process("ampnode.1")["state"] == "ready")


@pytest.fixture
def alone(tmp_path: Path, ampzero: Ampzero) -> Iterator[Callable[..., tuple[subprocess.Popen[str], Path]]]:
    """Starts one node process without any supervisor."""
    started: list[subprocess.Popen[str]] = []

    def start(config: str = "") -> tuple[subprocess.Popen[str], Path]:
        settings = make_application(tmp_path, config)
        socket = tmp_path / "node.sock"
        env = {
            **os.environ, "AMPZERO_INSTANCE": "demo", "AMPZERO_DIRECTORY": str(settings.directory),
            "AMPZERO_VAR": str(settings.var), "AMPZERO_CONTROL": str(settings.control),
            "AMPZERO_EVENTS": str(settings.events),
        }  # fmt: skip
        argv = [ampzero.path, "serve", "ampnode", "--socket", str(socket)]
        process = subprocess.Popen(argv, env=env, cwd=settings.directory, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process, socket

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_without_a_supervisor_the_page_says_so(
    alone: Callable[..., tuple[subprocess.Popen[str], Path]], tmp_path: Path
) -> None:
    _, socket = alone()
    assert wait_for(socket.exists)
    token = LoginLinks(tmp_path / "var/state").make()
    cookie = fetch(socket, "POST", "/login", {"token": token}).cookie
    stream = Stream(socket, cookie)
    assert wait_for(lambda: any(event == "lost" for event, _ in stream.events))
    assert fetch(socket, "GET", "/_ampzero/status", cookie=cookie).status == 503


def test_a_bad_configuration_is_one_line_and_exit_code_4(
    alone: Callable[..., tuple[subprocess.Popen[str], Path]],
) -> None:
    process, _ = alone("worker: 3\n")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 4
    assert "ampnode.yaml:1:1: worker: unknown key" in err and "Traceback" not in err
    assert "did you mean 'workers'?" in err


PARTS = """
from starlette.responses import JSONResponse
from starlette.routing import Route
from lib.logstore.wire import Query

def routes(node):
    def all_parts(request):
        node.keyspace.set("greeting", b"from etcd")
        node.zerodata.put("note", "one", {"text": "from zerodata"})
        node.logstore.search(Query())
        return JSONResponse({
            "keyspace": node.keyspace.get("greeting").decode(),
            "zerodata": node.zerodata.get("note", "one").value["text"],
            "keys": [node.keys.host.id, node.keys.user.id, node.keys.hub_file.name],
            "signed in": node.signed_in(request),
        })
    async def with_redis(request):
        await node.redis.set("greeting", "from redis")
        return JSONResponse({"redis": (await node.redis.get("greeting")).decode()})
    return [Route("/", all_parts), Route("/redis", with_redis)]
"""


def test_a_module_has_all_parts_of_the_instance(tmp_path: Path, ampzero: Ampzero) -> None:
    name = unique_name()
    made = ampzero("init", name, "--yes", "--dir", tmp_path, "--set", f"root={tmp_path / 'var'}")
    assert made.code == 0, made.err
    folder = tmp_path / name
    (folder / "ampnode/services/parts.py").write_text(PARTS)
    (folder / "ampnode/ampnode.yaml").write_text("modules: {parts: }\n")
    try:
        run = ampzero("run", folder, "--only", "redis,keyspace,zerodata,logstore,ampnode", timeout=90)
        assert run.code == 0, run.err
        running = Running(load_instance(str(folder)), ampzero)
        cookie = running.sign_in()
        for socket in running.sockets:
            for _ in range(3):  # in several threads of the process
                answer = fetch(socket, "GET", "/parts", cookie=cookie)
                assert answer.status == 200, ampzero("logs", folder, "ampnode").out
                assert json.loads(answer.text) == {
                    "keyspace": "from etcd", "zerodata": "from zerodata", "signed in": True,
                    "keys": ["host-1", "user-1", "hub.public.key"],
                }  # fmt: skip
            assert json.loads(fetch(socket, "GET", "/parts/redis").text) == {"redis": "from redis"}
    finally:
        ampzero("quit", folder)
