"""The keepers that need a host of their kind: systemd (a stand-in), a host's own supervisord."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running_support import Running, wait_gone
from support import wait_for

from lib.boot import systemd
from lib.boot.supervisord import Supervisord
from lib.boot.systemd import Systemd
from lib.errors import AmpzeroError, MissingError, TakenError
from lib.exporters.base import Target
from lib.exporters.target import plain_target
from lib.loader import load_instance

SYSTEMCTL = """#!/bin/sh
echo "$@" >>"$SYSTEMCTL_LOG"
case "$*" in *is-enabled*) echo enabled ;; *is-active*) echo active ;; esac
"""


@pytest.fixture
def target(make_running: Callable[..., Running]) -> Target:
    app = make_running("services: {web: {command: sleep 1000}}")
    instance = load_instance(str(app.folder))
    return plain_target(instance, instance.var / "boot", user=True)


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for systemctl, as systemd does not run in every test's host; gives its log."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/systemctl"
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("SYSTEMCTL_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def test_systemd_gets_a_unit_that_it_accepts(
    target: Target, systemctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Systemd(target, ("--server",))
    said = keeper.install()
    unit = Path.home() / ".config/systemd/user/ampzero-demo.service"
    assert f"wrote {unit}" in said
    text = unit.read_text()
    assert "Type=notify\n" in text
    assert f"run --no-daemon --server {target.instance.directory}\n" in text
    assert f"Environment=HOME={Path.home()}\n" in text
    if shutil.which("systemd-analyze"):
        env = {**os.environ, "XDG_RUNTIME_DIR": str(systemctl.parent)}
        done = subprocess.run(["systemd-analyze", "--user", "--man=no", "verify", unit], env=env,
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
    state = keeper.state()
    assert (state.installed, state.runs) == (True, True)
    assert state.at_boot.startswith("nothing starts it before you log in")
    lingering = systemctl.parent / "linger"
    lingering.mkdir()
    (lingering / pwd.getpwuid(os.getuid()).pw_name).touch()
    monkeypatch.setattr(systemd, "LINGERING", lingering)
    assert keeper.state().at_boot == "systemd starts it"
    keeper.install()
    assert keeper.remove() == [f"removed {unit}"]
    assert not unit.exists()
    assert keeper.remove() == []
    calls = systemctl.read_text().splitlines()
    # The first one tells whether there is a systemd to speak to, before anything is written.
    assert calls[:2] == ["--user daemon-reload"] * 2
    assert calls[2] == "--user enable --now ampzero-demo.service"
    assert calls[-2:] == ["--user disable --now ampzero-demo.service", "--user daemon-reload"]


def test_systemd_is_not_given_what_runs_without_it(
    make_running: Callable[..., Running], systemctl: Path
) -> None:
    """Its `run` would find the instance running, end, and be started again and again."""
    app = make_running("services: {web: {command: sleep 1000}}").start()
    (systemctl.parent / "bin/systemctl").write_text("#!/bin/sh\necho inactive\n")
    instance = load_instance(str(app.folder))
    keeper = Systemd(plain_target(instance, instance.var / "boot", user=True), ())
    with pytest.raises(TakenError) as caught:
        keeper.install()
    assert caught.value.hint == "stop it first: ampzero stop"
    assert not keeper.state().installed
    with pytest.raises(MissingError):
        keeper.start()


def test_another_folders_unit_is_left_alone(target: Target, systemctl: Path) -> None:
    unit = Path.home() / ".config/systemd/user/ampzero-demo.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nWorkingDirectory=/elsewhere\n")
    with pytest.raises(TakenError):
        Systemd(target, ()).install()
    assert "/elsewhere" in unit.read_text()


def test_what_systemctl_says_is_told(
    target: Target, systemctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = systemctl.parent / "bin/systemctl"
    program.write_text('#!/bin/sh\necho "Failed to connect to bus" >&2\nexit 1\n')
    with pytest.raises(AmpzeroError) as caught:
        Systemd(target, ()).install()
    assert "Failed to connect to bus" in caught.value.message


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """A host's own supervisord, as Debian sets it up; gives its conf.d."""
    beside = Path(sys.executable).parent / "supervisord"
    if not beside.exists():
        pytest.skip("no supervisord")
    folder = tmp_path / "etc"
    (folder / "conf.d").mkdir(parents=True)
    # pytest's folders are too long for a socket.
    socket = Path(f"/tmp/ampzero-test-{os.getpid()}.sock")  # noqa: S108 -- 0600, and this test's alone
    (folder / "supervisord.conf").write_text(
        f"[unix_http_server]\nfile={socket}\nchmod=0600\n[supervisord]\nlogfile={folder}/log\n"
        f"pidfile={folder}/pid\nchildlogdir={folder}\n[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        f"[supervisorctl]\nserverurl=unix://{socket}\n[include]\nfiles=conf.d/*.conf\n"
    )
    subprocess.run([beside, "-c", folder / "supervisord.conf"], check=True)
    pid_file = folder / "pid"
    assert wait_for(pid_file.exists)
    yield folder / "conf.d"
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGTERM)
    assert wait_gone(pid)
    socket.unlink(missing_ok=True)


def test_a_hosts_own_supervisord_keeps_it(target: Target, host: Path) -> None:
    keeper = Supervisord(target, (), host)
    said = keeper.install()
    assert f"wrote {host}/ampzero-demo.conf" in said
    assert keeper.state().runs
    assert "host's supervisord" in keeper.state().at_boot
    assert keeper.remove()
    assert list(host.iterdir()) == []
    assert not keeper.state().installed
    assert (host.parent / "pid").exists()  # that one is not ours to end
