"""`ampzero keyspace` as installed, on a real etcd that stands where an instance's would."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "process"))  # where spec_runner.py is

from spec_runner import running, service_of

from lib.files import Lock
from lib.loader import load_instance
from lib.running import owner_file

AMPZERO = Path(sys.executable).parent / "ampzero"
Ask = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("kept")
    (folder / "amprun.yaml").write_text(
        f"name: kept\namprun_root_directory: {folder}/var\nservices: {{keyspace: {{}}}}\n"
    )
    instance = load_instance(str(folder))
    lock = Lock(instance.run / "lock")
    with running(service_of(instance, "keyspace")):
        assert lock.acquire()
        yield folder
    lock.release()


@pytest.fixture
def ask(folder: Path) -> Ask:
    def asking(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [AMPZERO, "keyspace", *words],
            cwd=folder,
            input=given,
            capture_output=True,
            timeout=60,
            check=False,
        )

    asking("prune", "")
    return asking


def out(answer: subprocess.CompletedProcess[bytes], code: int = 0) -> bytes:
    assert answer.returncode == code, answer.stderr
    return answer.stdout


def test_every_verb(ask: Ask) -> None:
    assert out(ask("set", "a/1", "one")) == b""
    assert out(ask("get", "a/1")) == b"one\n"
    assert out(ask("get", "a/1", "--dirty")) == b"one\n"
    assert out(ask("set", "a/2", "-", given=b"\xfftwo\n")) == b""
    assert out(ask("get", "a/2")) == b"\xfftwo\n\n"
    assert out(ask("list")) == b"a/1\na/2\n"
    assert out(ask("list", "a/", "-r", "-n", "1", "--values")) == b"a/2\t\xfftwo\n\n"
    assert out(ask("count", "a/")) == b"2\n"
    assert out(ask("test-and-set", "a/1", "one", "uno")) == b"true\n"
    assert out(ask("test-and-set", "a/1", "one", "uno"), 1) == b"false\n"
    assert out(ask("test-and-set", "new", "", "x", "--absent")) == b"true\n"
    assert out(ask("add", "number", "5")) == b"5\n"
    assert out(ask("add", "number", "-7")) == b"-2\n"
    assert out(ask("rename", "number", "figure")) == b""
    assert out(ask("set-expiry", "figure", "5m")) == b""
    assert out(ask("clear-expiries")) == b"1\n"
    assert out(ask("remove-expiry", "figure")) == b""
    assert out(ask("remove", "figure")) == b"-2\n"
    assert out(ask("delete", "new")) == b""
    assert out(ask("prune", "a/")) == b"2\n"
    assert out(ask("master")) == b"keyspace\n"
    assert out(ask("count")) == b"0\n"


def test_json(ask: Ask) -> None:
    ask("set", "k", "-", given=b"\xff")
    ask("set", "l", "text")
    assert json.loads(out(ask("--json", "get", "k"))) == {"key": "k", "base64": "/w=="}
    lines = out(ask("--json", "list", "--values")).splitlines()
    assert json.loads(lines[1]) == {"key": "l", "value": "text"}
    assert json.loads(out(ask("--json", "count"))) == {"count": 2}
    assert json.loads(out(ask("--json", "test-and-set", "l", "x", "y"), 1)) == {"ok": False, "key": "l"}


@pytest.mark.parametrize(
    "words", [("get", "x"), ("remove", "x"), ("delete", "x"), ("rename", "x", "y"), ("set-expiry", "x", "9s")]
)
def test_no_such_key(ask: Ask, words: tuple[str, ...]) -> None:
    answer = ask(*words)
    assert answer.returncode == 1
    assert answer.stderr == b"ampzero: error: no such key: x\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("set-expiry", "x", "soon"), 2, b"not a duration"),
        (("set-expiry", "x", "1s"), 1, b"expiry"),
        (("get", ""), 1, b"1 to 4096 bytes"),
        (("-i", "/nowhere", "get", "x"), 5, b"no instance"),
        (("nonsense",), 2, b"No such command"),
        (("add", "x", "much"), 2, b"not a valid integer"),
    ],
)
def test_errors_are_one_line(ask: Ask, words: tuple[str, ...], code: int, said: bytes) -> None:
    answer = ask(*words)
    assert answer.returncode == code
    assert answer.stderr.startswith(b"ampzero: error: ")
    assert said in answer.stderr
    assert b"Traceback" not in answer.stderr


def test_an_instance_that_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "amprun.yaml").write_text(
        f"name: asleep\namprun_root_directory: {tmp_path}/var\nservices: {{keyspace: {{}}}}\n"
    )
    answer = subprocess.run(
        [AMPZERO, "keyspace", "-i", tmp_path, "get", "x"], capture_output=True, timeout=60, check=False
    )
    assert answer.returncode == 10
    assert b"asleep is not running" in answer.stderr


def test_another_instance_of_the_name_keeps_its_keys(folder: Path, ask: Ask, tmp_path: Path) -> None:
    instance = load_instance(str(folder))
    owner_file(instance).write_text(f"{folder}\n")
    (tmp_path / "amprun.yaml").write_text((folder / "amprun.yaml").read_text())
    answer = ask("-i", str(tmp_path), "set", "x", "overwritten")
    assert answer.returncode == 7
    assert f"belongs to the instance in {folder}".encode() in answer.stderr
    assert ask("get", "x").returncode != 0, "nothing was written"


def test_an_instance_without_a_keyspace(tmp_path: Path) -> None:
    (tmp_path / "amprun.yaml").write_text("name: bare\nservices: {redis: {}}\n")
    answer = subprocess.run(
        [AMPZERO, "keyspace", "get", "x"], cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert answer.returncode == 5
    assert b"bare has no keyspace" in answer.stderr
