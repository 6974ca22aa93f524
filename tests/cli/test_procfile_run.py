"""A Procfile as foreman, honcho and overmind run it, unchanged: `ampzero run -f Procfile`."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running_support import carrying
from support import Ampzero, wait_for

PROCFILE = f"""\
# a web server, a worker and a scheduler
web: {sys.executable} -m http.server $PORT --bind 127.0.0.1
worker: while sleep 0.2; do echo "work at level $LEVEL"; done
scheduler: exec env GREETING="$GREETING" sh -c 'echo "scheduling: $GREETING"; sleep 600'
"""
DOTENV = 'LEVEL=3\nGREETING="hello world"\n# a comment\nexport EMPTY=\n'


@pytest.fixture
def project(tmp_path: Path, ampzero: Ampzero) -> Iterator[Path]:
    """A folder with the Procfile and its .env; what runs of it is ended."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "Procfile").write_text(PROCFILE)
    (folder / ".env").write_text(DOTENV)
    (folder / "page.txt").write_text("a page")
    yield folder
    ampzero("quit", "-f", "Procfile", cwd=folder)


@pytest.fixture(autouse=True)
def own_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Procfile names no root directory: the default one must not be written by a test."""
    monkeypatch.setenv("AMPZERO_ROOT", str(tmp_path / "root"))


def status(ampzero: Ampzero, folder: Path) -> dict[str, Any]:
    done = ampzero("status", "-f", "Procfile", "--json", cwd=folder)
    assert done.code in (0, 6), done
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_it_runs_unchanged(project: Path, ampzero: Ampzero, tmp_path: Path) -> None:
    before = sorted(path.name for path in project.iterdir())
    done = ampzero("run", "-f", "Procfile", cwd=project)
    assert done.code == 0, done
    assert "project is ready" in done.out
    found = status(ampzero, project)
    services = {each["name"]: each for each in found["services"]}
    assert list(services) == ["web", "worker", "scheduler"]
    assert {each["state"] for each in services.values()} == {"ready"}
    port = services["web"]["processes"][0]["ports"][0]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/page.txt", timeout=30) as answer:
        assert answer.read() == b"a page"

    def logged() -> bool:
        out = ampzero("logs", "--file", "Procfile", cwd=project).out
        return "work at level 3" in out and "scheduling: hello world" in out

    assert wait_for(logged)
    stopped = ampzero("stop", "-f", "Procfile", cwd=project)
    assert stopped.code == 0, stopped
    assert not carrying(f"AMPZERO_VAR={found['var']}")
    assert ampzero("status", "-f", "Procfile", cwd=project).code == 10
    assert sorted(path.name for path in project.iterdir()) == before


def test_actions_after_the_procfile(project: Path, ampzero: Ampzero) -> None:
    """`run -f Procfile stop` took `stop` for the instance's name and started it."""
    asked = ampzero("run", "-f", "Procfile", "status", cwd=project)
    assert asked.code == 10
    assert ampzero("run", "-f", "Procfile", cwd=project).code == 0
    assert "web.1" in ampzero("run", "-f", "Procfile", "status", cwd=project).out
    assert (
        json.loads(ampzero("run", "-f", "Procfile", "status", "--json", cwd=project).out)["name"] == "project"
    )
    assert wait_for(lambda: "work at" in ampzero("run", "-f", "Procfile", "logs", "worker", cwd=project).out)
    assert ampzero("run", "-f", "Procfile", "restart", "worker", cwd=project).code == 0
    assert ampzero("run", "-f", "Procfile", "stop", cwd=project).code == 0
    assert ampzero("run", "-f", "Procfile", "status", cwd=project).code == 10


def test_stop_of_one_service_of_a_procfile_leaves_the_others(project: Path, ampzero: Ampzero) -> None:
    """The service's name was taken for the instance's, which a Procfile has none of: everything stopped."""
    assert ampzero("run", "-f", "Procfile", cwd=project).code == 0
    assert ampzero("stop", "-f", "Procfile", "worker", cwd=project).code == 0
    states = {each["name"]: each["state"] for each in status(ampzero, project)["services"]}
    assert states == {"web": "ready", "worker": "stopped", "scheduler": "ready"}
    assert ampzero("start", "-f", "Procfile", "worker", cwd=project).code == 0
    assert status(ampzero, project)["state"] == "ready"


def test_only_some_of_it(project: Path, ampzero: Ampzero) -> None:
    assert ampzero("run", "-f", "Procfile", "--only", "web,worker", cwd=project).code == 0
    assert [each["name"] for each in status(ampzero, project)["services"]] == ["web", "worker"]


def test_from_another_folder(project: Path, ampzero: Ampzero, tmp_path: Path) -> None:
    assert ampzero("run", "-f", str(project / "Procfile"), cwd=tmp_path).code == 0
    found = status(ampzero, project)
    assert found["directory"] == str(project)


def test_an_action_in_the_folder_of_an_instance(project: Path, ampzero: Ampzero, tmp_path: Path) -> None:
    """`ampzero run stop` looked for an instance called stop."""
    (project / "amprun.yaml").write_text(
        f"name: here\namprun_root_directory: {tmp_path}/root\nservices: {{web: {{command: sleep 600}}}}\n"
    )
    assert ampzero("run", cwd=project).code == 0
    assert ampzero("run", "status", cwd=project).code == 0
    assert ampzero("run", "stop", cwd=project).code == 0
    assert ampzero("run", "status", cwd=project).code == 10
