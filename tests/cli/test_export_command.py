"""Exports that really run: units that systemd accepts, a supervisord, a honcho."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from running_support import Running, carrying, kill, wait_gone
from support import Ampzero, wait_for

STRANGE = 'he said "hi" $HOME %h `x` ; # it\'s 100% \\n'
PROGRAM = """
import os, sys, time
with open(sys.argv[1] + ".told", "w") as out:
    out.write("\\n".join([os.environ.get("STRANGE", ""), *sys.argv[2:]]))
time.sleep(600)
"""
SERVICES = f"""
services:
  first:
    command: [python3, app.py, first, "a b", "c;d # e", "%d $X"]
    env: {{STRANGE: {STRANGE.replace("'", "''").join("''")}}}
    ready: {{exec: "test -e first.told"}}
  second:
    command: python3 app.py second | cat
    shell: true
    processes: 2
    depends_on: [first]
    restart: {{policy: on-failure}}
"""
TOLD = f"{STRANGE}\na b\nc;d # e\n%d $X"


@pytest.fixture
def app(make_running: Callable[..., Running]) -> Running:
    return make_running(SERVICES, {"app.py": PROGRAM})


@contextmanager
def running(*argv: str | Path, mark: Path, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A keeper of others; it is ended with all that it left (honcho leaves what a shell started)."""
    process = subprocess.Popen(argv, cwd=cwd, start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env={**os.environ, "MARK_OF_TEST": str(mark)},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            kill(*carrying(f"MARK_OF_TEST={mark}"))
            process.wait(60)


def beside_python(name: str) -> str:
    found = Path(sys.executable).parent / name
    return str(found) if found.exists() else shutil.which(name) or pytest.skip(f"no {name}")


@pytest.mark.parametrize("user", [False, True])
def test_systemd_accepts_the_units(app: Running, ampzero: Ampzero, tmp_path: Path, user: bool) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    out = tmp_path / "units"
    done = ampzero("export", "systemd", app.folder, "--output", out, *(["--user"] if user else []))
    assert done.code == 0, done
    assert stat.S_IMODE((out / "ampzero-demo-first-1.env").stat().st_mode) == 0o600
    units = sorted(str(path) for path in out.iterdir() if path.suffix != ".env")
    assert len(units) == 5
    assert "systemctl" in done.err
    checked = subprocess.run(
        ["systemd-analyze", *(["--user"] if user else []), "--man=no", "verify", *units],
        capture_output=True, text=True, check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "SYSTEMD_UNIT_PATH": f"{out}:"},
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    assert "ampzero-demo" not in checked.stderr


def test_a_real_supervisord_runs_the_programs(app: Running, ampzero: Ampzero, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = ampzero("export", "supervisor", app.folder, "--output", out)
    assert done.code == 0, done
    assert "services.second.depends_on: not carried over" in done.err
    conf = out / "supervisord.conf"
    assert stat.S_IMODE(conf.stat().st_mode) == 0o600
    with running(beside_python("supervisord"), "-n", "-c", conf, mark=tmp_path):

        def states() -> list[str]:
            told = subprocess.run([beside_python("supervisorctl"), "-c", conf, "status"],
                                  capture_output=True, text=True, check=False).stdout  # fmt: skip
            return [line.split()[1] for line in told.splitlines() if len(line.split()) > 1]

        assert wait_for(lambda: states() == ["RUNNING"] * 3), states()
        assert wait_for(lambda: (app.folder / "first.told").exists())
        assert wait_for(lambda: (app.folder / "first.told").read_text() == TOLD)
        assert wait_for(lambda: (app.folder / "second.told").exists())


def test_a_real_honcho_runs_the_procfile(app: Running, ampzero: Ampzero, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = ampzero("export", "procfile", app.folder, "--output", out)
    assert done.code == 0, done
    assert {path.name for path in out.iterdir()} == {"Procfile", ".env"}
    with running(beside_python("honcho"), "start", cwd=out, mark=tmp_path):
        assert wait_for(lambda: (app.folder / "second.told").exists())
        assert wait_for(lambda: (app.folder / "first.told").exists())
        assert wait_for(lambda: (app.folder / "first.told").read_text() == TOLD)


def test_a_procfile_comes_back_as_the_same_services(app: Running, ampzero: Ampzero, tmp_path: Path) -> None:
    from lib import importers

    ampzero("export", "procfile", app.folder, "--output", tmp_path / "out")
    assert list(importers.read(tmp_path / "out/Procfile").services) == ["first", "second-1", "second-2"]


def test_an_export_of_a_running_instance_keeps_its_ports(
    make_running: Callable[..., Running], ampzero: Ampzero, tmp_path: Path
) -> None:
    command = "python3 -m http.server --bind 127.0.0.1 $PORT"
    app = make_running(f"services: {{web: {{command: {command}, port: auto}}}}").start()
    port = app.process("web")["ports"][0]
    assert ampzero("export", "procfile", app.folder, "--output", tmp_path / "out").code == 0
    assert f"PORT={port}; " in (tmp_path / "out/Procfile").read_text()
    assert app.process("web")["state"] == "ready"


def test_the_foreground_tells_its_service_manager(app: Running, ampzero: Ampzero, tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"\0ampzero-{os.getpid()}-{id(app)}"
        manager.bind(name)
        manager.settimeout(20)
        process = subprocess.Popen(
            [ampzero.path, "run", "--no-daemon", app.folder], stdout=subprocess.DEVNULL,
            env={**os.environ, "NOTIFY_SOCKET": "@" + name[1:]},
        )  # fmt: skip
        try:
            assert manager.recv(100).startswith(b"READY=1\n")
            assert app.supervisor == process.pid  # so NotifyAccess=main is enough
            process.terminate()
            assert manager.recv(100).startswith(b"STOPPING=1\n")
            assert process.wait(60) == 0
        finally:
            if process.poll() is None:
                process.kill()
                wait_gone(process.pid)


def test_a_supervisord_runs_a_whole_instance(
    ampzero: Ampzero, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    made = ampzero("init", "whole", "--yes", "--dir", tmp_path, "--set", f"root={tmp_path}/var",
                   "--set", f"port={port}")  # fmt: skip
    assert made.code == 0, made
    out = tmp_path / "out"
    done = ampzero("export", "supervisor", tmp_path / "whole", "--output", out)
    assert done.code == 0, done
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"https://localhost:{port}/", context=context, timeout=30) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            return error.code in (200, 303, 401, 403)  # the node itself, which wants a sign-in
        except OSError:
            return False

    with running(beside_python("supervisord"), "-n", "-c", out / "supervisord.conf", mark=tmp_path):
        assert wait_for(answers, 40), [path.read_text()[-300:] for path in out.glob("*.log")]
