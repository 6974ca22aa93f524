"""`run --dry-run`: all is checked as a start would, and nothing that is there is touched."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from running_support import Running
from support import unused_port

MakeRunning = Callable[..., Running]

needs_servers = pytest.mark.skipif(
    not shutil.which("nginx") or not shutil.which("redis-server"), reason="no nginx, no redis"
)


def everything(folder: Path) -> dict[str, int]:
    """Each path below `folder` with its modification time."""
    return {str(path): path.lstat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


@contextmanager
def untouched(*folders: Path) -> Iterator[None]:
    """Nothing below `folders` changes meanwhile, and no scratch folder is left."""

    def look() -> list[dict[str, int]]:
        return [everything(folder) for folder in folders if folder.exists()]

    before, scratch = look(), set(Path(tempfile.gettempdir()).glob("ampzero-????????"))
    yield
    assert look() == before
    assert not {*Path(tempfile.gettempdir()).glob("ampzero-????????")} - scratch


@pytest.fixture(autouse=True)
def scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Scratch folders of this test alone."""
    (tmp_path / "t").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_before_the_first_start_nothing_is_made(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600, port: auto, processes: 2}\n")
    with untouched(one.folder, one.root):
        done = one.run("--dry-run")
        assert done.code == 0, done
        assert not one.root.exists()
    assert done.err == "demo could run so: nothing was changed\n"
    first, second = done.out.splitlines()
    assert first.startswith("web.1 (port ")
    assert second.startswith("web.2 (port ")
    assert first.endswith("): sleep 600")


@needs_servers
def test_beside_the_running_instance_its_ports_are_its_own(make_running: MakeRunning) -> None:
    port = unused_port()
    one = make_running(
        f"port: {port}\nservices:\n  redis: {{}}\n  nginx: {{}}\n  web: {{command: sleep 600}}\n"
    )
    one.start("--server")
    pids = [one.pid(name) for name in ("redis", "nginx", "web")]
    ports = one.process("redis")["ports"]
    with untouched(one.folder, one.root / "demo/conf", one.root / "demo/state", one.root / "demo/data"):
        done = one.run("--server", "--dry-run", "--json")
        assert done.code == 0, done
    told = json.loads(done.out)
    assert told["var"] == str(one.var)
    processes = {each["name"]: each for service in told["services"] for each in service["processes"]}
    assert processes["redis.1"]["ports"] == ports
    assert processes["redis.1"]["argv"][1] == str(one.var / "conf/redis.conf")
    assert processes["nginx.1"]["ports"] == [port]
    assert pids == [one.pid(name) for name in ("redis", "nginx", "web")]
    assert one.status()["state"] == "ready"


def test_a_release_that_is_not_live_is_checked_as_if_it_were(make_running: MakeRunning) -> None:
    port = unused_port()
    one = make_running(
        f"services:\n  web: {{command: python3 -m http.server {port}, port: {port}}}\n"
    ).start()
    coming = one.folder.with_name("coming")
    shutil.copytree(one.folder, coming)
    done = one.ampzero("run", coming, "--dry-run")
    assert done.code == 7, done
    assert "belongs to the instance in" in done.err
    with untouched(coming, one.root / "demo/state"):
        done = one.ampzero("run", coming, "--dry-run", f"--as={one.folder}", "--json")
        assert done.code == 0, done
    assert json.loads(done.out)["directory"] == str(one.folder)
    assert json.loads(done.out)["services"][0]["processes"][0]["cwd"] == str(one.folder)


@needs_servers
@pytest.mark.parametrize(
    ("file", "text", "code", "said"),
    [
        ("nginx/nginx.conf", "events {}\nhttp { nonsense on; }\n", 4, 'unknown directive "nonsense"'),
        ("ampnode/redis.conf", "maxmemory lots\n", 4, "maxmemory lots"),
        ("ampnode/redis.conf", "{{ nobody }}\n", 4, "nobody"),
        ("amprun.yaml", "services: {web: {command: no-such-program}}\n", 5, "no program 'no-such-program'"),
    ],
)
def test_what_a_start_would_refuse_is_refused(
    make_running: MakeRunning, file: str, text: str, code: int, said: str
) -> None:
    one = make_running(f"port: {unused_port()}\nservices:\n  redis: {{}}\n  nginx: {{}}\n")
    (one.folder / file).parent.mkdir(exist_ok=True)
    (one.folder / file).write_text(text)
    with untouched(one.folder, one.root):
        done = one.run("--server", "--dry-run")
    assert done.code == code, done
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_port_of_somebody_else_is_refused(make_running: MakeRunning) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        one = make_running(f"services:\n  web: {{command: sleep 600, port: {taken.getsockname()[1]}}}\n")
        done = one.run("--dry-run")
        assert done.code == 7, done
        assert "is taken by" in done.err


def test_as_and_json_alone_are_a_mistake(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n")
    assert one.run("--json").code == 2
    assert one.run("--as", "/x").code == 2
    one.start()
    assert json.loads(one.run("status", "--json").out)["state"] == "ready"
    assert one.run("reload", "--dry-run").out == "nothing changed\n"
