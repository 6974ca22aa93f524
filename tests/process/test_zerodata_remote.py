"""remote.py, as a command and as a shell on a terminal."""

from __future__ import annotations

import json
import os
import pty
import secrets
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import wait_for

TEMPLATE = Path(__file__).parents[2] / "instance_template" / "zerodata"
AMPZERO = Path(sys.executable).with_name("ampzero")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An instance whose record store runs, where a run of it would have put its socket and secret."""
    made = tmp_path_factory.mktemp("remote")
    shutil.copytree(TEMPLATE, made / "zerodata")
    (made / "amprun.yaml").write_text(
        f"name: kick\namprun_root_directory: {made}/var\nservices: {{zerodata: {{}}}}\n"
    )
    for name in ("state", "run", "data"):
        (made / "var" / "kick" / name).mkdir(parents=True, mode=0o700)
    secret = made / "var" / "kick" / "state" / "zerodata.secret"
    secret.write_text(secrets.token_hex(32))
    socket = socket_of(made)
    environment = {**clean(made), "ZERODATA_SECRET_FILE": str(secret), "ZERODATA_DATA": str(made / "data")}
    server = subprocess.Popen(
        [AMPZERO, "serve", "zerodata", "--socket", str(socket)],
        cwd=made,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert wait_for(lambda: socket.is_socket() or server.poll() is not None)
        assert server.poll() is None
        yield made
    finally:
        server.kill()
        server.wait()


def socket_of(folder: Path) -> Path:
    from lib.loader import load_instance

    sockets = load_instance(str(folder)).sockets
    for private in (sockets.parent, sockets):  # the parent may be the one that all instances share in /tmp
        private.mkdir(parents=True, exist_ok=True, mode=0o700)
    return sockets / "zerodata.sock"


def clean(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "dumb"}


def remote(folder: Path, *words: str, **environment: str) -> tuple[int, str, str]:
    ended = subprocess.run(
        [sys.executable, "zerodata/remote.py", *words], cwd=folder, env={**clean(folder), **environment},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return ended.returncode, ended.stdout, ended.stderr


def test_commands(folder: Path) -> None:
    for number in (1, 2, 3):
        assert remote(folder, "put", "task", str(number), f'{{"a": {number}}}')[0] == 0
    code, out, _ = remote(folder, "get", "task", "2")
    assert code == 0 and json.loads(out)["value"] == {"a": 2}
    code, out, _ = remote(folder, "query", "task", "a>1", "--order", "-a", "--limit", "1")
    assert code == 0 and [json.loads(line)["id"] for line in out.splitlines()] == ["3"]
    code, out, _ = remote(folder, "query", "task", "a>1", "@id prefix 2")
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["2"]
    code, _, err = remote(folder, "put", "task", "1", "{}", "--version", "0")
    assert code == 1 and "has version" in err and "hint:" in err
    assert json.loads(remote(folder, "delete", "task", "1")[1]) == {"deleted": True}
    assert remote(folder, "get", "task", "1")[0] == 5


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["put", "a", "b", "{"], 2),
        (["x"], 2),
        (["query", "a", "b~1"], 1),
        (["get", "a b", "c"], 1),
        (["put", "a", "b", "1"], 1),
    ],
)
def test_bad_words(folder: Path, words: list[str], code: int) -> None:
    ended = remote(folder, *words)
    assert ended[0] == code and ended[2].startswith("remote.py: error: ")
    assert "Traceback" not in ended[2]


def test_a_store_that_does_not_run(folder: Path) -> None:
    secret = folder / "var" / "kick" / "state" / "zerodata.secret"
    code, _, err = remote(
        folder, "get", "a", "b", ZERODATA_URL=f"unix:{folder}/none.sock", ZERODATA_SECRET_FILE=str(secret)
    )
    assert code == 10 and "nothing listens" in err


def test_the_shell_on_a_terminal(folder: Path) -> None:
    master, slave = pty.openpty()
    shell = subprocess.Popen(
        [sys.executable, "zerodata/remote.py"],
        cwd=folder,
        env=clean(folder),
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    seen = b""

    def until(text: bytes) -> None:
        nonlocal seen
        end = time.monotonic() + 30
        while text not in seen:
            assert time.monotonic() < end, seen
            if select.select([master], [], [], 0.2)[0]:
                seen += os.read(master, 4096)
        seen = seen.split(text, 1)[1]

    try:
        until(b"zerodata> ")
        os.write(master, b'put shell 1 \'{"a": "\xc3\xa4"}\'\n')
        until(b'{"version": ')
        until(b"zerodata> ")
        os.write(master, b"nonsense 'x\n")
        until(b"remote.py: error: ")
        until(b"zerodata> ")
        os.write(master, b"get\n")
        until(b"arguments are required")
        until(b"zerodata> ")
        os.write(master, b"query shell 'a prefix \xc3\xa4'\n")
        until('"value": {"a": "ä"}'.encode())
        until(b"zerodata> ")
        os.write(master, b"que\t")
        until(b"query")
        os.write(master, b" shell\n")
        until(b'"id": "1"')
        until(b"zerodata> ")
        os.write(master, b"\x04")
        assert shell.wait(60) == 0
    finally:
        shell.kill()
        shell.wait()
        os.close(master)
