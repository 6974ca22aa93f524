from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import wait_for

AMPZERO = Path(sys.executable).with_name("ampzero")
APP = """
import asyncio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
async def endless(request):
    async def beats():
        while True:
            yield b"data: x\\n\\n"
            await asyncio.sleep(.05)
    return StreamingResponse(beats(), media_type="text/event-stream")
async def hello(request):
    return PlainTextResponse("hello")
app = Starlette(routes=[Route("/", hello), Route("/endless", endless)])
"""


class Instance:
    """A folder with an application, and the servers that were started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "s.sock"
        self.running: list[subprocess.Popen[bytes]] = []
        (folder / "zerodata").mkdir()
        self.write(APP)

    def write(self, text: str) -> None:
        (self.folder / "zerodata" / "zerodata.py").write_text(text)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        argv = [str(AMPZERO), "serve", *(words or ("zerodata", "--socket", str(self.socket)))]
        server = subprocess.Popen(argv, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.running.append(server)
        return server

    def ready(self, server: subprocess.Popen[bytes]) -> None:
        def answers() -> bool:
            assert server.poll() is None, server.communicate()
            try:
                self.ask("/").close()
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            return True

        assert wait_for(answers), "not ready"

    def ask(self, path: str) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(30)
        try:
            connection.connect(str(self.socket))
        except OSError:
            connection.close()
            raise
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return connection


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = Instance(tmp_path)
    yield made
    for server in made.running:
        if server.poll() is None:
            server.kill()
        server.communicate()


def test_serves_and_ends_with_success(instance: Instance) -> None:
    before = os.umask(0)
    try:
        server = instance.start()
    finally:
        os.umask(before)
    instance.ready(server)
    assert instance.socket.stat().st_mode & 0o777 == 0o600
    with instance.ask("/") as connection:
        answer = b""
        while not answer.endswith(b"hello"):
            part = connection.recv(4096)
            assert part, answer
            answer += part
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"server:" not in answer.lower()
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0
    assert not instance.socket.exists()
    assert server.communicate() == (b"", b"")


def test_an_endless_answer_does_not_hold_the_end_up(instance: Instance) -> None:
    server = instance.start()
    instance.ready(server)
    with instance.ask("/endless") as connection:
        assert b"200 OK" in connection.recv(4096)
        server.send_signal(signal.SIGTERM)
        # It would go on without end.
        assert server.wait(60) == 0
    assert b"Traceback" not in server.communicate()[1]


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(instance: Instance) -> None:
    first = instance.start()
    instance.ready(first)
    first.kill()
    first.wait()
    assert instance.socket.is_socket()
    second = instance.start()
    instance.ready(second)
    third = instance.start()
    assert third.wait(60) == 7
    assert b"another server listens" in third.communicate()[1]
    instance.ask("/").close()


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("x = 1\nimport nope_nope\n", 2, b"ModuleNotFoundError: No module named 'nope_nope'"),
        ("def f(:\n", 1, b"SyntaxError"),
        ("def f():\n    return 1 / 0\nf()\n", 2, b"ZeroDivisionError"),
        ("raise SystemExit(0)\n", 1, b"SystemExit"),
    ],
)
def test_code_that_fails_is_named_with_its_line(
    instance: Instance, text: str, line: int, says: bytes
) -> None:
    instance.write(text)
    server = instance.start()
    said = server.communicate(timeout=60)[1]
    assert server.returncode == 4
    last = said.splitlines()[-1]
    assert last.startswith(b"ampzero: error: ") and says in last
    assert f"zerodata/zerodata.py:{line}:".encode() in last
    assert b"Traceback" in said


@pytest.mark.parametrize(
    ("text", "says"), [("app = 1\n", b"no ASGI application"), ("", b"no ASGI application")]
)
def test_no_application(instance: Instance, text: str, says: bytes) -> None:
    instance.write(text)
    server = instance.start()
    assert says in server.communicate(timeout=60)[1]
    assert server.returncode == 4


def test_a_start_up_that_fails(instance: Instance) -> None:
    instance.write(
        "from contextlib import asynccontextmanager\nfrom starlette.applications import Starlette\n"
        "@asynccontextmanager\nasync def life(app):\n    raise RuntimeError('no luck')\n    yield\n"
        "app = Starlette(lifespan=life)\n"
    )
    server = instance.start()
    said = server.communicate(timeout=60)[1]
    assert server.returncode == 1
    assert b"no luck" in said and b"start-up failed" in said


def test_missing_file_long_path_and_unknown_kind(instance: Instance) -> None:
    (instance.folder / "zerodata" / "zerodata.py").unlink()
    server = instance.start()
    assert b"is missing" in server.communicate(timeout=60)[1]
    assert server.returncode == 5
    instance.write(APP)
    server = instance.start("zerodata", "--socket", "/tmp/" + "x" * 120)  # noqa: S108 -- never made
    assert b"too long" in server.communicate(timeout=60)[1]
    assert server.returncode == 4
    server = instance.start("other", "--socket", "x")
    server.communicate(timeout=60)
    assert server.returncode == 2
