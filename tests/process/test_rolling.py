"""Rolling restarts, scale and reload of a whole instance, with requests that never stop meanwhile."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running_support import Running, alive, kill, wait_gone
from support import Ampzero, unused_port

from lib import running
from lib.whereabouts import open_running

MakeRunning = Callable[..., Running]

PYTHON = sys.executable

"""Many commands one after the other, on a machine that the test itself keeps busy."""

SERVER = """
import os, socket, sys, time
version = open('version').read().strip()
if version == 'broken': sys.exit(3)
if version == 'deaf': time.sleep(600)
while version == 'slow' and not os.path.exists('go'): time.sleep(0.02)
listeners = [socket.socket(fileno=3 + n) for n in range(int(os.environ['LISTEN_FDS']))]
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
    one.connect(os.environ['NOTIFY_SOCKET']); one.send(b'READY=1')
import select, signal
going = []
signal.signal(signal.SIGTERM, lambda *_: going.append(1))
for listener in listeners: listener.setblocking(False)
while not going:
    for listener in select.select(listeners, [], [], 0.1)[0]:
        try: client, _ = listener.accept()
        except BlockingIOError: continue
        client.sendall(version.encode()); client.close()
"""
"""Answers each connection on its sockets with the content of the file `version` at its start."""


class Load:
    """Requests from several threads until it is stopped; `errors` are those that failed."""

    def __init__(self, ask: Callable[[], object], threads: int = 4) -> None:
        self.errors: list[str] = []
        self.count = 0
        self._ask = ask
        self._going = True
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while self._going:
            try:
                self._ask()
            except Exception as error:
                self.errors.append(repr(error))
            self.count += 1
            # What is under load must have a processor, too.
            time.sleep(0.01)

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self._going = False
        for thread in self._threads:
            thread.join()


@pytest.fixture
def whole(ampzero: Ampzero, tmp_path: Path) -> Iterator[tuple[Running, int]]:
    """An instance as `init` makes it, without its keyspace, zerodata and logstore; and its port."""
    port = unused_port()
    done = ampzero("init", "demo", "--yes", "--dir", tmp_path, "--set", f"root={tmp_path}/var", "--set",
                   f"port={port}")  # fmt: skip
    assert done.code == 0, done
    one = Running(ampzero, tmp_path / "demo", tmp_path / "var")
    text = (one.folder / "amprun.yaml").read_text()
    lines = [
        line
        for line in text.splitlines()
        if not line.startswith(("  keyspace:", "  zerodata:", "  logstore:"))
    ]
    (one.folder / "amprun.yaml").write_text("\n".join(lines) + "\n")
    yield one, port
    one.end()


def asker(port: int, *, keep: bool) -> Callable[[], None]:
    """Asks for the front page with one connection a thread, or a new one each time."""
    context = ssl._create_unverified_context()  # noqa: S323 -- a certificate of a CA made for this test
    local = threading.local()

    def ask() -> None:
        connection = getattr(local, "connection", None)
        if connection is None:
            connection = http.client.HTTPSConnection("localhost", port, timeout=60, context=context)
        local.connection = connection if keep else None
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            if not keep:
                raise
            # An idle connection may be closed by a server that reloads: a client asks again on a new one.
            local.connection = None
            again = http.client.HTTPSConnection("localhost", port, timeout=60, context=context)
            again.request("GET", "/")
            answer = again.getresponse()
            answer.read()
            local.connection = again
        finally:
            if not keep:
                connection.close()
        assert answer.status in (200, 303), answer.status

    return ask


@pytest.mark.parametrize("keep", [True, False])
def test_no_request_fails_while_a_whole_instance_changes(whole: tuple[Running, int], keep: bool) -> None:
    one, port = whole
    one.start(timeout=90)
    nginx = one.pid("nginx")
    ask = asker(port, keep=keep)
    ask()
    conf = one.folder / "nginx/nginx.conf"
    good = conf.read_text()
    with Load(ask, threads=3) as load:
        nodes = [one.pid("ampnode.1"), one.pid("ampnode.2")]
        done = one.ampzero("restart", "--rolling", one.folder, "ampnode")
        assert done.code == 0, done
        assert not set(nodes) & {one.pid("ampnode.1"), one.pid("ampnode.2")}
        assert not load.errors, ("rolling", load.errors[:3], load.count)

        conf.write_text(good.replace("keepalive_timeout 65s;", "keepalive_timeout 64s;"))
        done = one.ampzero("reload", one.folder)
        assert done.code == 0, done
        assert one.pid("nginx") == nginx
        assert not load.errors, ("reload", load.errors[:3], load.count)

        conf.write_text(good.replace("sendfile on;", "sendfile nonsense;"))
        done = one.ampzero("reload", one.folder)
        assert done.code != 0
        assert "refuses the new configuration" in done.err and "nonsense" in done.err, done
        assert "keepalive_timeout 64s;" in (one.var / "conf/nginx.conf").read_text()
        assert one.pid("nginx") == nginx
        conf.write_text(good)

        assert one.ampzero("scale", one.folder, "ampnode=3").code == 0
        assert "ampnode.3.sock" in (one.var / "conf/nginx.conf").read_text()
        assert one.process("ampnode.3")["state"] == "ready"
        assert not load.errors, ("scale up", load.errors[:3], load.count)
        assert one.ampzero("scale", one.folder, "ampnode=1").code == 0
        assert "ampnode.2.sock" not in (one.var / "conf/nginx.conf").read_text()
        assert len(one.service("ampnode")["processes"]) == 1
        ask()
    assert not load.errors, (load.errors[:3], len(load.errors), load.count)
    assert load.count > 200
    assert one.stop().code == 0


def test_the_page_answers_while_the_supervisor_is_dead_and_adopts(whole: tuple[Running, int]) -> None:
    one, port = whole
    one.start(timeout=90)
    ask = asker(port, keep=False)
    pids = [one.pid(name) for name in ("nginx", "redis", "ampnode.1", "ampnode.2")]
    with Load(ask, threads=2) as load:
        for _ in range(2):
            kill(supervisor := one.supervisor)
            assert wait_gone(supervisor)
            done = one.run(timeout=90)
            assert done.code == 0, done
            assert [one.pid(name) for name in ("nginx", "redis", "ampnode.1", "ampnode.2")] == pids
        assert one.ampzero("restart", "--rolling", one.folder, "ampnode").code == 0
    assert not load.errors, (load.errors[:3], len(load.errors), load.count)
    kill(supervisor := one.supervisor)
    assert wait_gone(supervisor)
    assert one.stop().code == 0
    assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize("address", ["tcp", "unix", "both"])
def test_a_restart_loses_no_connection(make_running: MakeRunning, address: str) -> None:
    port = unused_port()
    given = {"tcp": f"[{port}]", "unix": "['unix:web.sock']", "both": f"[{port}, 'unix:web.sock']"}[address]
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, processes: 2, listen: {given},"
        " ready: {notify: true}}\n",
        {"app.py": SERVER, "version": "1"},
    ).start()
    seen: set[bytes] = set()

    def connect() -> bytes:
        if address == "unix":
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(30)
                client.connect(str(one.folder / "web.sock"))
                return client.recv(100)
        with socket.create_connection(("127.0.0.1", port), 30) as client:
            return client.recv(100)

    def ask() -> None:
        answer = connect()
        assert answer, "no answer"
        seen.add(answer)

    with Load(ask, threads=2) as load:
        for version in ("2", "3"):
            (one.folder / "version").write_text(version)
            assert one.ampzero("restart", "--rolling", one.folder, "web").code == 0
            assert connect() == version.encode()
        # Also a plain restart: the sockets are there all the time.
        assert one.ampzero("restart", one.folder, "web").code == 0
        for broken in ("broken", "deaf") if address == "tcp" else ("broken",):
            (one.folder / "version").write_text(broken)
            if broken == "deaf":
                text = (one.folder / "amprun.yaml").read_text()
                (one.folder / "amprun.yaml").write_text(
                    text.replace("notify: true", "notify: true, deadline: 1s")
                )
                done = one.ampzero("reload", one.folder)
            else:
                done = one.ampzero("restart", "--rolling", one.folder, "web")
            assert done.code != 0
            assert "did not become ready" in done.err, done
            assert connect() == b"3"
            assert {p["state"] for p in one.service("web")["processes"]} == {"ready"}
            assert len(one.service("web")["processes"]) == 2
    assert not load.errors, (load.errors[:3], len(load.errors), load.count)
    assert seen == {b"1", b"2", b"3"}
    # What was left as it was can still be restarted, and survives a crash of its own.
    (one.folder / "version").write_text("4")
    kill(one.pid("web.1"), one.pid("web.2"))
    one.until(lambda: one.service("web")["state"] == "ready" and connect() == b"4")


def test_a_supervisor_that_was_asked_while_it_handed_sockets_over_died(make_running: MakeRunning) -> None:
    # "No such file or directory (src/epoll.cpp)": a connection of libzmq's had got a descriptor at which the
    # sockets stand for a moment, free since the start was over.
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, processes: 2, listen: {unused_port()},"
        " ready: {notify: true}}\n",
        {"app.py": SERVER, "version": "1"},
    ).start()
    # Opened once: to have msgspec learn a type in two threads at a time ends Python.
    instance = open_running(str(one.folder))
    supervisor = running.status(instance)["supervisor"]["pid"]
    with Load(lambda: running.status(instance), threads=4) as load:
        for _ in range(3):
            assert one.ampzero("restart", "--rolling", one.folder, "web").code == 0
        low = {str(Path(f"/proc/{supervisor}/fd/{number}").readlink()) for number in range(3, 16)}
    assert not load.errors, load.errors[:3]
    assert load.count > 20
    assert one.supervisor == supervisor
    assert low == {os.devnull}


def test_without_a_socket_the_old_one_comes_back(make_running: MakeRunning) -> None:
    app = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, processes: 3, ready: {{log: up}}}}\n",
        {"app.py": app},
    ).start()
    before = [one.pid(f"web.{n}") for n in (1, 2, 3)]
    assert one.ampzero("restart", "--rolling", one.folder, "web").code == 0
    after = [one.pid(f"web.{n}") for n in (1, 2, 3)]
    assert not set(before) & set(after)
    # The new version is in what it is started with: the old one can come back.
    yaml = one.folder / "amprun.yaml"
    good = yaml.read_text()
    yaml.write_text(good.replace("app.py,", "bad.py,"))
    (one.folder / "bad.py").write_text("import sys\nsys.exit(1)\n")
    done = one.ampzero("reload", one.folder)
    assert done.code != 0
    assert "the old one is back" in done.err, done
    one.until(lambda: one.service("web")["state"] == "ready")
    assert [one.pid(f"web.{n}") for n in (2, 3)] == after[1:]
    yaml.write_text(good)
    assert "nothing changed" in one.ampzero("reload", one.folder).out


def test_a_stop_ends_a_rolling_restart(make_running: MakeRunning) -> None:
    app = (
        "import os, signal, sys, time\n"
        "def end(*_):\n    while not os.path.exists('go'): time.sleep(0.02)\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('up', flush=True)\nwhile True: time.sleep(0.05)\n"
    )
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, processes: 3, ready: {{log: up}},"
        " stop: {timeout: 60s}}\n",
        {"app.py": app},
    ).start()
    results = []
    roll, stop = (
        threading.Thread(target=lambda words=words: results.append(one.ampzero(*words)))
        for words in (("restart", "--rolling", one.folder, "web"), ("stop", one.folder, "web"))
    )
    roll.start()
    one.until(lambda: one.process("web")["state"] == "stopping")
    stop.start()
    # None ends before all have heard of the stop.
    one.until(lambda: {p["state"] for p in one.service("web")["processes"]} == {"stopping"})
    (one.folder / "go").touch()
    for each in (roll, stop):
        each.join(60)
    assert sorted(done.code == 0 for done in results) == [False, True], results
    assert "was stopped meanwhile" in next(done.err for done in results if done.code)
    assert {p["state"] for p in one.service("web")["processes"]} == {"stopped"}
    assert not [p for p in one.service("web")["processes"] if p["pid"]]


def test_a_replaced_process_that_waited_for_its_restart_does_not_come_back(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh -c 'echo $$ >> pids; sleep 0.2; exit 1', restart: {initial: 1s}}\n"
    ).start()
    one.until_state("web", "backoff")
    yaml = one.folder / "amprun.yaml"
    yaml.write_text(yaml.read_text().split("services:")[0] + "services:\n  web: {command: sleep 600}\n")
    assert one.ampzero("reload", one.folder).code == 0
    count = (one.folder / "pids").read_text().count("\n")
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert (one.folder / "pids").read_text().count("\n") == count
        time.sleep(0.1)


def test_a_kill_of_the_supervisor_in_an_overlap_leaves_the_old_process(
    make_running: MakeRunning, free_port: Callable[[], int]
) -> None:
    """The newcomer stood in the journal before it was ready; the next supervisor ended what served."""
    port = free_port()
    one = make_running(
        f"services:\n  web: {{command: [{PYTHON}, app.py], listen: {port}, ready: {{notify: true}}}}\n",
        {"app.py": SERVER, "version": "1"},
    ).start()
    old = one.pid("web")
    (one.folder / "version").write_text("deaf")
    asking = threading.Thread(target=lambda: one.ampzero("restart", "--rolling", one.folder, "web"))
    asking.start()
    one.until(lambda: len(one.service("web")["processes"]) == 2 and one.service("web")["processes"][1]["pid"])
    new = one.service("web")["processes"][1]["pid"]
    kill(supervisor := one.supervisor)
    assert wait_gone(supervisor)
    asking.join(60)
    assert one.run().code == 0
    assert one.pid("web") == old
    assert wait_gone(new)
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        assert client.recv(9) == b"1"


def test_an_old_process_that_starts_again_in_an_overlap_takes_nothing_from_the_newcomer(
    make_running: MakeRunning, free_port: Callable[[], int]
) -> None:
    """Both came to the same number, and so to one socket: the newcomer sent no READY=1 for 30 s."""
    port = free_port()
    one = make_running(
        f"services:\n  web: {{command: [{PYTHON}, app.py], listen: {port},"
        " ready: {notify: true, deadline: 60s}}\n",
        {"app.py": SERVER, "version": "1"},
    ).start()
    old = one.pid("web")
    (one.folder / "version").write_text("slow")
    results = []
    roll = threading.Thread(
        target=lambda: results.append(one.ampzero("restart", "--rolling", one.folder, "web"))
    )
    roll.start()

    def there(number: int) -> int | None:
        """The pid of the old one (0) or the newcomer (1)."""
        found = one.service("web")["processes"]
        return found[number]["pid"] if len(found) == 2 else None

    one.until(lambda: there(1))
    kill(old)
    one.until(lambda: there(0) not in (None, old))
    names = ("NOTIFY_SOCKET=", "AMPZERO_SPAWN=")
    both = [
        {line for line in Path(f"/proc/{there(number)}/environ").read_text().split("\0")
         if line.startswith(names)} for number in (0, 1)
    ]  # fmt: skip
    assert len(both[0]) == len(both[1]) == 2
    assert not both[0] & both[1]
    new = there(1)
    (one.folder / "go").touch()
    roll.join(60)
    assert results and results[0].code == 0, results
    assert (one.pid("web"), one.process("web")["state"]) == (new, "ready")
    kill(one.pid("web"))
    one.until(lambda: one.pid("web") != new and one.process("web")["state"] == "ready")
    assert sorted(path.name for path in (one.var / "run/output").iterdir()) == ["web.1-4.err", "web.1-4.out"]


def poster(port: int) -> Callable[[], None]:
    """Posts what must be answered once: nginx does not ask another process for it."""
    context = ssl._create_unverified_context()  # noqa: S323 -- a certificate of a CA made for this test

    def post() -> None:
        connection = http.client.HTTPSConnection("localhost", port, timeout=60, context=context)
        try:
            connection.request("POST", "/no-such-page", b"x" * 1000)
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
        assert answer.status < 500, answer.status

    return post


def test_a_post_failed_when_a_scale_ended_processes_before_nginx_was_told(whole: tuple[Running, int]) -> None:
    one, port = whole
    one.start(timeout=90)
    assert one.ampzero("scale", one.folder, "ampnode=4").code == 0
    with Load(poster(port), threads=4) as load:
        for _ in range(3):
            for number in (1, 4):
                done = one.ampzero("scale", one.folder, f"ampnode={number}")
                assert done.code == 0, done
                assert len(one.service("ampnode")["processes"]) == number
                assert not load.errors, (number, load.errors[:3], load.count)
    assert not load.errors, (load.errors[:3], len(load.errors), load.count)
    assert load.count > 200


def test_a_post_fails_in_no_rolling_restart(whole: tuple[Running, int]) -> None:
    one, port = whole
    one.start(timeout=90)
    with Load(poster(port), threads=4) as load:
        for _ in range(4):
            assert one.ampzero("restart", "--rolling", one.folder, "ampnode").code == 0
    assert not load.errors, (load.errors[:3], len(load.errors), load.count)


def test_an_nginx_that_refuses_its_files_at_run_time_has_the_old_ones_back(
    whole: tuple[Running, int],
) -> None:
    one, port = whole
    one.start(timeout=90)
    pid, rendered = one.pid("nginx"), one.var / "conf/nginx.conf"
    before = rendered.read_text()
    conf = one.folder / "nginx/nginx.conf"
    good = conf.read_text()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        # `nginx -t` finds nothing wrong with an address that another has.
        conf.write_text(
            good.replace("server_name _;", f"server_name _; listen 127.0.0.1:{taken.getsockname()[1]};")
        )
        done = one.ampzero("reload", one.folder)
    assert done.code == 6, done
    assert "the old ones are back" in done.err
    assert rendered.read_text() == before
    assert [path.name for path in rendered.parent.glob("nginx*")] == ["nginx.conf"]
    asker(port, keep=False)()
    assert one.pid("nginx") == pid
    conf.write_text(good)
    assert one.ampzero("reload", one.folder).out.strip() == "nothing changed"
    kill(pid)
    one.until(lambda: one.pid("nginx") != pid and one.process("nginx")["state"] == "ready")
    asker(port, keep=False)()
