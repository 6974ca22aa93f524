"""Bad input to `run`: one line of error, a hint, the documented exit code, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from disk_support import fill
from running_support import Running, carrying, pids_in
from support import Ampzero, Result, as_user, unused_port

MakeRunning = Callable[..., Running]
NOBODY = 65534


def is_one_error(done: Result, code: int, *words: str) -> None:
    """The answer is one error line with all `words`, a hint, `code`, and no traceback."""
    assert done.code == code, done
    lines = done.err.splitlines()
    errors = [line for line in lines if line.startswith("ampzero: error: ")]
    assert len(errors) == 1, done.err
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err, done.err
    hint = lines[lines.index(errors[0]) + 1 :]
    assert len(hint) == 1, done.err
    assert hint[0].startswith("hint: ")


def nothing_runs(one: Running) -> None:
    """No process of it, no lock, no answer."""
    if one.root.is_dir():
        assert not carrying(f"AMPZERO_VAR={one.root / 'demo'}")
    assert one.ampzero("status", one.folder).code in (4, 10)


@pytest.mark.parametrize(
    ("services", "words"),
    [
        ("  web: {comand: sleep 600}\n", ["amprun.yaml:4:9", "services.web.comand"]),
        ("  web: {command: sleep 600, processes: three}\n", ["amprun.yaml:4:", "services.web.processes"]),
        ("  web: {command: sleep 600, depends_on: [dbb]}\n  db: {command: sleep 600}\n",
         ["amprun.yaml:4:", "services.web.depends_on", "dbb"]),
        ("  a: {command: sleep 600, depends_on: [b]}\n  b: {command: sleep 600, depends_on: [a]}\n",
         ["amprun.yaml:4:", "a -> b -> a"]),
        ("  web: {command: sleep 600, port: 70000}\n", ["services.web.port"]),
        ("  web: {command: \"sh -c 'echo\"}\n", ["services.web.command", "No closing quotation"]),
        ("  web: {command: \"''\"}\n", ["services.web.command", "names no program"]),
        ("  web: {command: [\"sleep\", \"6\\0\"]}\n", ["amprun.yaml:4:", "zero byte"]),
        ("  web: {command: sleep 600, ready: {http: /healthz}}\n", ["services.web.ready.http", "port"]),
        ("  web: {command: sleep 600, ready: {tcp: web}}\n", ["services.web.ready.tcp"]),
        ("  web: {command: sleep 600, ready: {tcp: 'localhost:99999'}}\n", ["services.web.ready.tcp"]),
        ("  web: {command: sleep 600, ready: {http: 'http://localhost:99999/'}}\n", ["ready.http"]),
        ("  web: {command: sleep 600, ready: {http: 'http://[::1/'}}\n", ["ready.http"]),
        ("  web: {command: sleep 600, ready: {tcp: 1, log: x}}\n", ["services.web.ready"]),
        ("  web: {command: sleep 600, stop: {signal: NOPE}}\n", ["services.web.stop.signal"]),
    ],
)  # fmt: skip
def test_a_wrong_file(make_running: MakeRunning, services: str, words: list[str]) -> None:
    one = make_running(f"services:\n{services}")
    done = one.run()
    assert "hint: " in done.err or done.code == 4
    assert done.code == 4, done
    assert done.err.count("ampzero: error: ") == 1
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err, done.err
    nothing_runs(one)


def test_a_port_that_is_taken_names_who_has_it(make_running: MakeRunning) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        one = make_running(
            "services:\n  first: {command: sh -c 'touch started; sleep 600'}\n"
            f"  web: {{command: sleep 600, port: {port}, depends_on: [first], ready: {{exec: 'true'}}}}\n"
        )
        name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
        is_one_error(one.run(), 7, f"port {port}", f"pid {os.getpid()}", name)
    assert not (one.folder / "started").exists()
    nothing_runs(one)
    assert one.run().code == 0  # free again: nothing of the failed start holds it


def test_a_port_that_two_services_want(make_running: MakeRunning) -> None:
    port = unused_port()
    one = make_running(
        f"services:\n  a: {{command: sleep 600, port: {port}}}\n  b: {{command: sleep 600, port: {port}}}\n"
    )
    is_one_error(one.run(), 4, f"services.b.port: port {port} is that of a")
    nothing_runs(one)
    with socket.create_server(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("no-such-program-here --now", "install it, or give its path"),
        ("./app.sh", "chmod +x"),
        ("app.sh", "./app.sh"),
        ("/no/such/program", "install it, or give its path"),
    ],
)
def test_a_program_that_is_missing(make_running: MakeRunning, command: str, hint: str) -> None:
    one = make_running(f"services:\n  web: {{command: {command}}}\n", {"app.sh": "#!/bin/sh\nsleep 600\n"})
    is_one_error(one.run(), 5, "services.web.command: no program", hint)
    nothing_runs(one)


def test_a_known_program_that_is_missing_comes_with_its_install_command(
    make_running: MakeRunning, tmp_path: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "apt-get"):
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"no {name} here")
        (tools / name).symlink_to(found)
    one = make_running("services:\n  web: {command: redis-server --port 0}\n")
    is_one_error(one.run(env={"PATH": str(tools)}), 5, "'redis-server'", "apt-get install", "redis-server")
    nothing_runs(one)


def test_a_folder_that_is_missing(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600, cwd: nowhere}\n")
    is_one_error(one.run(), 5, "services.web.cwd")
    nothing_runs(one)


def test_an_env_file_that_is_missing(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600, env_file: .env}\n")
    is_one_error(one.run(), 5, "no file", ".env")
    nothing_runs(one)


def test_a_command_that_exits_at_once(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  db: {command: sh -c 'echo $$ >> pids; exec sleep 600'}\n"
        "  web: {command: sh -c 'echo cannot open its file; exit 3', depends_on: [db], port: auto}\n"
    )
    is_one_error(one.run(), 6, "web.1 did not become ready", "exit code 3", "cannot open its file")
    nothing_runs(one)


def test_a_command_that_is_not_for_this_machine(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: ./app}\n", {"app": "\x7fELF garbage"})
    (one.folder / "app").chmod(0o755)
    is_one_error(one.run(), 6, "web.1 did not become ready", "cannot start ./app: Exec format error")
    nothing_runs(one)


def test_a_program_that_never_becomes_ready(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh -c 'echo still thinking; sleep 600', port: auto, "
        "ready: {tcp: 1, deadline: 1s}}\n"
    )
    is_one_error(one.run(), 6, "not ready after 1 s", "still thinking")
    nothing_runs(one)


def test_a_lock_file_that_nobody_holds_is_no_obstacle(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n")
    run = one.root / "demo/run"
    run.mkdir(parents=True, mode=0o700)
    (run / "lock").write_text(f"{os.getpid()}\n")
    (run / "control.sock").write_text("")
    (run / "web.1.pid").write_text("1 1\n")
    one.start()


def test_an_instance_that_is_missing(ampzero: Ampzero, tmp_path: Path) -> None:
    is_one_error(ampzero("run", "no-such-instance", cwd=tmp_path), 5, "no instance 'no-such-instance'")
    is_one_error(ampzero("run", cwd=tmp_path), 5, "no amprun.yaml")
    is_one_error(ampzero("run", "x" * 5000, cwd=tmp_path), 5, "no instance")
    for command in ("status", "stop", "quit", "start", "restart", "attach"):
        is_one_error(ampzero(command, "no-such-instance", cwd=tmp_path), 5, "no instance")
    assert list(tmp_path.iterdir()) == []


def test_what_was_meant_by_a_name_that_is_none(ampzero: Ampzero, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "amprun.yaml").write_text("services:\n  web: {command: sleep 600}\n")
    is_one_error(ampzero("run", "shpo", cwd=tmp_path), 5, "did you mean shop?")
    (tmp_path / "Procfile").write_text("web: sleep 600\n")
    is_one_error(ampzero("run", cwd=tmp_path), 5, "no instance in this folder", "adding -f Procfile")
    is_one_error(ampzero("logs", "-f", "Procfile", cwd=tmp_path), 5, "--file Procfile")
    is_one_error(ampzero("status", "shop", cwd=tmp_path), 10, "hint: ampzero run shop")
    is_one_error(ampzero("stop", "-f", "Procfile", cwd=tmp_path), 10, "hint: ampzero run -f Procfile")


@pytest.mark.parametrize("command", ["status", "stop", "quit", "start", "restart", "attach"])
def test_commands_to_an_instance_that_does_not_run(make_running: MakeRunning, command: str) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n")
    is_one_error(one.ampzero(command, one.folder), 10, "demo is not running", "ampzero run")


def test_only_with_an_unknown_name(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n")
    is_one_error(one.run("--only", "web,wab"), 2, "no service 'wab'")
    nothing_runs(one)


@pytest.mark.parametrize("command", ["stop", "start", "restart", "quit"])
def test_a_command_with_an_unknown_service_changes_nothing(make_running: MakeRunning, command: str) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n").start()
    pid = one.pid("web")
    is_one_error(one.ampzero(command, one.folder, "web", "wab"), 2, "no service 'wab'")
    assert one.pid("web") == pid


def test_an_unknown_action(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n")
    is_one_error(one.run("frobnicate"), 2, "no such action: 'frobnicate'")
    nothing_runs(one)


def test_a_folder_of_another_instance_is_not_shared(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n").start()
    other = make_running("services:\n  web: {command: sleep 600}\n", name="other")
    (other.folder / "amprun.yaml").write_text((one.folder / "amprun.yaml").read_text())
    is_one_error(other.run(), 7, "belongs to the instance in", str(one.folder))
    for command in ("status", "stop", "quit", "restart"):
        is_one_error(one.ampzero(command, other.folder), 7, "belongs to the instance in", str(one.folder))
    assert one.status()["state"] == "ready"


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [
        ("web python app.py\n", 4, "Procfile:1"),
        ("# nothing\n", 4, "no service"),
        ("web: sleep 1\nweb: sleep 2\n", 4, "Procfile:2"),
        ("web:\n", 4, "Procfile:1"),
    ],
)
def test_a_wrong_procfile(ampzero: Ampzero, tmp_path: Path, content: str, code: int, word: str) -> None:
    (tmp_path / "Procfile").write_text(content)
    done = ampzero("run", "-f", "Procfile", cwd=tmp_path)
    assert (done.code, done.err.count("ampzero: error: ")) == (code, 1), done
    assert word in done.err
    assert "Traceback" not in done.err


def test_a_procfile_that_is_missing(ampzero: Ampzero, tmp_path: Path) -> None:
    done = ampzero("run", "-f", "Procfile", cwd=tmp_path)
    assert done.code == 5
    assert "Procfile" in done.err.splitlines()[0]


def test_a_root_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """As an ordinary user; root could write it."""
    someone = Ampzero(as_user() if os.geteuid() == 0 else ())
    # Not below tmp_path, whose parents are 0700.
    folder = Path(tempfile.mkdtemp(prefix="unwritable-"))
    try:
        folder.chmod(0o755)
        (folder / "amprun.yaml").write_text(
            f"name: demo\namprun_root_directory: {folder}/root\nservices: {{web: {{command: sleep 600}}}}\n"
        )
        (folder / "root").mkdir(mode=0o555)
        done = someone("run", folder, cwd=Path("/"), env={"HOME": "/nonexistent"})
        is_one_error(done, 8, "cannot write", "root")
        assert list((folder / "root").iterdir()) == []
        assert not carrying(f"AMPZERO_VAR={folder}/root/demo")
    finally:
        shutil.rmtree(folder)


@pytest.mark.root
def test_a_full_disk(small_disk: Path, make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh -c 'echo $$ >> pids; exec sleep 600', port: auto, "
        "ready: {exec: 'true'}}\n",
        root=small_disk,
    )
    filling = fill(small_disk)
    is_one_error(one.run(), 8, "no space left on the device")
    assert not (one.folder / "pids").exists()
    filling.unlink()
    assert one.run().code == 0
    pids_in(one.folder / "pids")
    assert one.stop().code == 0
