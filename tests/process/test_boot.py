"""A host without systemd: a real supervisord keeps the instance up, also when its supervisor is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from running_support import Running, alive
from support import Ampzero, Result, wait_for

SERVICES = "services: {web: {command: sleep 1000}, worker: {command: sleep 1001, processes: 2}}"
CRONTAB = """#!/bin/sh
[ "$1" = -l ] || exec cat >"$CRONTAB_FILE"
cat "$CRONTAB_FILE" 2>/dev/null || { echo "no crontab" >&2; exit 1; }
"""
"""crontab(1) in the two ways in which it is used: the real one would write into this machine's own."""

pytestmark = [
    pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd runs here"),
    pytest.mark.skipif(
        not (Path(sys.executable).parent / "supervisord").exists() and not shutil.which("supervisord"),
        reason="no supervisord",
    ),
]


@dataclass
class Boot:
    """`ampzero boot` for one instance."""

    app: Running
    run: Callable[..., Result]

    def __call__(self, action: str, *words: str) -> Result:
        return self.run(action, *words)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("status", "--json").out)
        return found


@pytest.fixture
def boot(make_running: Callable[..., Running], ampzero: Ampzero, tmp_path: Path) -> Iterator[Boot]:
    """`boot("install")` on an instance of its own; `boot.app` is that."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/crontab"
    program.write_text(CRONTAB)
    program.chmod(0o755)
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "CRONTAB_FILE": str(tmp_path / "crontab")}
    app = make_running(SERVICES)

    def run(action: str, *words: str) -> Result:
        return ampzero("boot", action, app.folder, "--user", *words, env=env, timeout=90)

    yield Boot(app, run)
    run("remove")


def test_a_killed_supervisor_is_started_again(boot: Boot, tmp_path: Path) -> None:
    app = boot.app
    assert boot("status").code == 10
    done = boot("install")
    assert done.code == 0, done
    assert "cron starts it by the @reboot line" in done.out
    assert "boot start" in (tmp_path / "crontab").read_text()
    assert boot("status").code == 0
    assert boot.state()["runs"] is True
    before = app.supervisor
    children = {name: app.pid(name) for name in ("web.1", "worker.1", "worker.2")}
    os.kill(before, signal.SIGKILL)
    assert wait_for(lambda: _back(app, before))
    # on_crash is adopt: the same processes go on.
    assert {name: app.pid(name) for name in children} == children
    assert all(alive(pid) for pid in children.values())
    assert wait_for(lambda: " RUNNING " in boot.state()["detail"]), boot.state()
    assert app.stop().code == 0
    # A commanded stop stays.
    assert wait_for(lambda: "EXITED" in boot.state()["detail"]), boot.state()
    done = boot("remove")
    assert done.code == 0, done
    assert "ampzero" not in (tmp_path / "crontab").read_text()
    assert boot.state()["installed"] is False
    assert not (app.var / "boot").exists()


def _back(app: Running, before: int) -> bool:
    done = app.ampzero("status", app.folder, "--json")
    if done.code != 0:
        return False
    return bool(json.loads(done.out)["supervisor"]["pid"] != before)


def test_remove_stops_what_is_kept_and_start_is_what_a_boot_does(boot: Boot, tmp_path: Path) -> None:
    (tmp_path / "crontab").write_text("# mine\n5 4 * * * true\n")
    assert boot("install").code == 0
    assert boot("install").code == 0  # again: the same
    assert (tmp_path / "crontab").read_text().count("@reboot") == 1
    supervisord = int((boot.app.var / "boot/supervisord.pid").read_text())
    pid = boot.app.supervisor
    os.kill(supervisord, signal.SIGTERM)  # as the end of a machine does
    assert wait_for(lambda: not alive(supervisord) and not alive(pid))
    assert boot("start").code == 0
    assert wait_for(lambda: boot("status").code == 0)
    pid = boot.app.supervisor
    assert boot("remove").code == 0
    assert not alive(pid)
    assert (tmp_path / "crontab").read_text() == "# mine\n5 4 * * * true\n"


def test_an_instance_that_runs_already_is_not_taken(boot: Boot) -> None:
    boot.app.start()
    done = boot("install")
    assert done.code == 7
    assert "ampzero stop" in done.err
    assert boot.state()["installed"] is False


def test_one_that_does_not_stay_up_says_why(boot: Boot) -> None:
    (boot.app.folder / "amprun.yaml").write_text(
        (boot.app.folder / "amprun.yaml").read_text().replace("sleep 1000", "no-such-program")
    )
    done = boot("install")
    assert done.code == 1, done
    assert "does not stay up" in done.err
    assert boot("remove").code == 0
