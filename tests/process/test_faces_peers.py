"""Other users are not served, not even where the folder of the sockets is open to them."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from lib.control.faces import Faces
from lib.supervisor.spec import Plan

STRANGER = 65534
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter."""
    made = Path(tempfile.mkdtemp(prefix="faces-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


async def serve(folder: Path, asking: Callable[[], bool], user: int) -> bool:
    """Whether `asking`, which `user` runs in a process of its own, was answered."""

    async def handle(command: str, arguments: dict[str, Any]) -> Any:
        raise AssertionError("nobody asks for that")

    status: dict[str, Any] = {"name": "x", "state": "ready", "services": [], "supervisor": {"pid": 1}}
    plan = Plan(name="x", directory="/", var=str(folder), sockets=str(folder), services=())
    faces = Faces(folder, lambda: plan, lambda: status, handle)
    faces.open()
    await asyncio.sleep(0)
    for path in folder.glob("*.sock"):
        path.chmod(0o777)
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            os.setuid(user)
            code = 0 if asking() else 1
        finally:
            os._exit(code)
    ended = await asyncio.to_thread(os.waitpid, pid, 0)
    await faces.close()
    code = os.waitstatus_to_exitcode(ended[1])
    assert code in (0, 1)
    return code == 0


@pytest.mark.parametrize(("user", "answered"), [(0, True), (STRANGER, False)])
def test_circus_knows_its_user(folder: Path, user: int, answered: bool) -> None:
    def ask() -> bool:
        with zmq.Context() as context, context.socket(zmq.DEALER) as client:
            client.setsockopt(zmq.LINGER, 0)
            client.connect(f"ipc://{folder}/circus.sock")
            client.send(b'{"id": "1", "command": "list"}')
            return bool(client.poll(30_000 if answered else 1500))

    assert asyncio.run(serve(folder, ask, user)) is answered


@pytest.mark.parametrize(("user", "answered"), [(0, True), (STRANGER, False)])
def test_supervisor_knows_its_user(folder: Path, user: int, answered: bool) -> None:
    def ask() -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(f"{folder}/supervisor.sock")
            try:
                client.sendall(b"GET /mainlogtail HTTP/1.1\r\n\r\n")
                return client.recv(100).startswith(b"HTTP/1.1 200")
            except OSError:
                return False

    assert asyncio.run(serve(folder, ask, user)) is answered
