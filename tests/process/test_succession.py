"""A supervisor of another version of ampzero takes the place of the one that runs: nobody notices."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from running_support import Running, alive, wait_gone
from support import Ampzero, Result, unused_port, wait_for

MakeRunning = Callable[..., Running]
TOOL = Path(__file__).parents[2]
PARTS = ("lib", "keys", "deploy", "instance_template", "ampzero.py")

PAUSE = 0.005
"""Seconds between two requests of a thread: the machine has other work than ours."""

COUNTER = """
import itertools, sys, time
for number in itertools.count():
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
    time.sleep(0.002)
"""

WEB = """
import os, signal, socket
listener = socket.socket(fileno=3)
stop = False
def end(*_):
    global stop
    stop = True
signal.signal(signal.SIGTERM, end)
listener.settimeout(0.05)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while not stop:
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        continue
    with connection:
        connection.settimeout(30)
        connection.recv(4096)
        body = os.environ.get("AMPZERO_RELEASE", "none").encode()
        connection.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
"""


class Tool(Ampzero):
    """Another copy of this checkout, run by the same Python."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir()
        for name in PARTS:
            if (TOOL / name).is_dir():
                shutil.copytree(TOOL / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(TOOL / name, folder / name)
        self.path = str(folder / "ampzero")
        Path(self.path).write_text(f'#!/bin/sh\nexec {sys.executable} -P {folder}/ampzero.py "$@"\n')
        Path(self.path).chmod(0o755)
        self.folder = folder


@pytest.fixture
def other(tmp_path: Path) -> Tool:
    return Tool(tmp_path / "tool-2")


@contextmanager
def load(ask: Callable[[], bytes]) -> Iterator[list[bytes]]:
    """Ask all the time, from two threads; gives the answers, of which a failed one begins with `!`."""
    answers: list[bytes] = []
    done = threading.Event()

    def go_on() -> None:
        while not done.wait(PAUSE):
            try:
                answers.append(ask())
            except (OSError, http.client.HTTPException) as error:
                answers.append(f"! {error!r}".encode())

    threads = [threading.Thread(target=go_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert wait_for(lambda: len(answers) > 20)
        yield answers
        seen = len(answers)
        assert wait_for(lambda: len(answers) > seen + 20)
    finally:
        done.set()
        for thread in threads:
            thread.join()


def fetch(port: int) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", "/")
        return connection.getresponse().read()


def hand_over(one: Running, other: Tool, *words: str, env: Mapping[str, str] | None = None) -> Result:
    """Let the other tool do it; the supervisor before is gone then, and all that it ran lives."""
    before = one.supervisor
    lived = {name: one.pid(name) for name in ("keeps",)}
    done = other(*words, one.folder, env=env)
    assert done.code == 0, done
    assert not alive(before)
    assert one.supervisor != before
    assert {name: one.pid(name) for name in lived} == lived
    assert str(other.folder) in Path(f"/proc/{one.supervisor}/cmdline").read_text()
    return done


@pytest.mark.parametrize("on_crash", ["adopt", "stop"])
def test_run_and_reload_of_another_version_replace_the_supervisor_alone(
    make_running: MakeRunning, other: Tool, on_crash: str, tmp_path: Path
) -> None:
    port = unused_port()
    one = make_running(
        f"on_crash: {on_crash}\nservices:\n"
        f"  keeps: {{command: {sys.executable} -u counter.py}}\n"
        f"  web: {{command: {sys.executable} web.py, listen: {port}, ready: {{notify: true}}}}\n"
        "  idle: {command: sleep 600}\n"
        "  job: {command: 'true', restart: {policy: on-failure}}\n",
        {"counter.py": COUNTER, "web.py": WEB},
    ).start()
    assert one.stop("idle").code == 0
    assert one.ampzero("scale", one.folder, "web=2").code == 0
    with load(lambda: fetch(port)) as answers:
        web = one.pid("web.1")
        hand_over(one, other, "run")
        assert one.pid("web.1") == web
        # The other way round, by a reload that has something to do as well.
        dry = one.ampzero("reload", one.folder, "--dry-run", env={"AMPZERO_RELEASE": "r2"})
        assert "replace the supervisor: ampzero is another version\nreplace keeps: env\n" in dry.out
        third = Tool(tmp_path / "tool-3")
        hand_over(one, third, "run")
        one.ampzero = third
        assert other("reload", one.folder, env={"AMPZERO_RELEASE": "r2"}).code == 0
        assert one.pid("web.1") != web
    assert not [answer for answer in answers if answer.startswith(b"!")]
    assert {*answers} == {b"none", b"r2"}
    states = {each["name"]: each["state"] for each in one.status()["services"]}
    assert states == {"keeps": "ready", "web": "ready", "idle": "stopped", "job": "completed"}
    assert len(one.service("web")["processes"]) == 2
    # What the first of `keeps` wrote is whole: it was one process under two supervisors.
    counted = [int(line) for line in one.output("keeps")]
    first = counted[: counted.index(0, 1)]
    assert first == list(range(len(first)))
    assert one.stop().code == 0
    assert not (one.var / "state/journal").exists()


def test_the_lock_is_held_all_the_time(make_running: MakeRunning, other: Tool) -> None:
    one = make_running("services:\n  keeps: {command: sleep 600}\n").start()
    free: list[str] = []
    done = threading.Event()

    def watch() -> None:
        from lib.files import Lock

        lock = Lock(one.var / "run/lock")
        while not done.is_set():
            if not lock.is_held():
                free.append("free")

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        hand_over(one, other, "run")
        hand_over(one, Tool(other.folder.with_name("tool-3")), "run")
    finally:
        done.set()
        watcher.join()
    assert not free


def test_on_crash_stop_holds_for_the_next_supervisor_too(make_running: MakeRunning, other: Tool) -> None:
    one = make_running("on_crash: stop\nservices:\n  keeps: {command: sleep 600}\n").start()
    hand_over(one, other, "run")
    child, supervisor = one.pid("keeps"), one.supervisor
    os.kill(supervisor, signal.SIGKILL)
    assert wait_gone(child)


def test_a_version_that_cannot_be_loaded_leaves_the_old_supervisor_in_place(
    make_running: MakeRunning, other: Tool
) -> None:
    one = make_running("services:\n  keeps: {command: sleep 600}\n").start()
    before = one.supervisor
    (other.folder / "lib/supervisor/tree.py").rename(other.folder / "lib/supervisor/wood.py")
    (other.folder / "lib/supervisor/tree.py").write_text(
        "import sys\nif sys.argv[0].endswith('__main__.py'): raise SystemExit('broken')\n"
        + (other.folder / "lib/supervisor/wood.py").read_text().replace("from __future__", "#")
    )
    done = other("run", one.folder)
    assert done.code == 1, done
    assert "the supervisor ended before it was ready" in done.err
    assert one.supervisor == before
    assert one.process("keeps")["state"] == "ready"
    assert one.stop().code == 0


SNATCH = """
import os, sys
from pathlib import Path
from lib import succession
from lib.loader import load_instance
from lib import running
instance = load_instance(sys.argv[1])
old = running.status(instance)["supervisor"]["pid"]
if sys.argv[2] == "early":
    succession.handover.receive = lambda channel: os._exit(0)
with succession._taken_over(instance, old):
    os._exit(0)
"""


@pytest.mark.parametrize("moment", ["early", "late"])
def test_a_handover_that_is_killed_in_the_midst_leaves_the_old_one_or_work_for_the_next_run(
    make_running: MakeRunning, other: Tool, moment: str
) -> None:
    one = make_running("services:\n  keeps: {command: sleep 600}\n").start()
    child, before = one.pid("keeps"), one.supervisor
    subprocess.run(
        [sys.executable, "-c", SNATCH, one.folder, moment], check=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(TOOL)},
    )  # fmt: skip
    if moment == "early":
        assert one.supervisor == before
        assert one.ampzero("scale", one.folder, "keeps=2").code == 0
    else:
        assert not alive(before)
        assert alive(child)
        assert other("run", one.folder).code == 0
    assert one.pid("keeps") == child
    hand_over(one, Tool(other.folder.with_name("tool-3")), "run")


def test_in_the_foreground_the_supervisor_stays_and_reload_says_so(
    make_running: MakeRunning, other: Tool
) -> None:
    one = make_running("services:\n  keeps: {command: sleep 600}\n")
    with subprocess.Popen(
        [one.ampzero.path, "run", "--no-daemon", one.folder], stdout=subprocess.DEVNULL
    ) as own:
        try:
            assert wait_for(lambda: one.ampzero("status", one.folder).code == 0)
            assert other("run", one.folder).code == 0
            assert other("reload", one.folder).code == 0
            assert one.supervisor == own.pid
        finally:
            own.terminate()


@pytest.mark.skipif(
    not shutil.which("nginx") or not shutil.which("redis-server"), reason="no nginx, no redis"
)
def test_no_request_through_nginx_fails_and_redis_and_nginx_stay(
    ampzero: Ampzero, other: Tool, tmp_path: Path
) -> None:
    port = unused_port()
    assert ampzero("init", "demo", "--dir", tmp_path).code == 0
    folder, root = tmp_path / "demo", tmp_path / "root"
    lines = (folder / "amprun.yaml").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("amprun_root_directory:", "port:"))]
    (folder / "amprun.yaml").write_text(
        f"amprun_root_directory: {root}\nport: {port}\n" + "\n".join(kept) + "\n"
    )
    one = Running(ampzero, folder, root)
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE

    def ask() -> bytes:
        with closing(
            http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=unchecked)
        ) as connection:
            connection.request("GET", "/_ampzero/signin")
            answer = connection.getresponse()
            answer.read()
            return b"%d" % answer.status if answer.status < 500 else b"! %d" % answer.status

    try:
        one.start("--server", env={"AMPZERO_RELEASE": "r1"})
        pids = {name: one.pid(name) for name in ("redis", "nginx", "ampnode")}
        before = one.supervisor
        with load(ask) as answers:
            env = {"AMPZERO_RELEASE": "r2"}
            assert other("run", "--server", folder, env=env).code == 0
            done = other("reload", folder, env=env)
            assert done.code == 0, done
        assert not [answer for answer in answers if answer.startswith(b"!")], {*answers}
        assert one.supervisor != before
        assert one.status()["release"] == "r2"
        assert (one.pid("redis"), one.pid("nginx")) == (pids["redis"], pids["nginx"])
        assert one.pid("ampnode") != pids["ampnode"]
        assert str(other.folder) in Path(f"/proc/{one.pid('ampnode')}/cmdline").read_text()
    finally:
        one.end()
