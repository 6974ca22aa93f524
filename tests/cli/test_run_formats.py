"""The same small application, run and taken over from every format that is read."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from importers_support import write
from running_support import carrying, kill
from support import Ampzero, wait_for

from lib import importers, loader


@pytest.fixture
def runner(ampzero: Ampzero, tmp_path: Path) -> Iterator[Any]:
    """`runner("status", "-f", file)`, with a root directory of the test's own; everything is ended."""
    root = tmp_path / "var"

    def run(*words: object) -> Any:
        return ampzero(*map(str, words), env={"AMPZERO_ROOT": str(root)}, cwd=tmp_path)

    yield run
    for folder in root.iterdir() if root.is_dir() else ():
        kill(*carrying(f"AMPZERO_VAR={folder}"))


@pytest.mark.parametrize("form", importers.NAMES)
def test_it_runs(form: str, runner: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "app", form)
    done = runner("run", "-f", path)
    assert done.code == 0, done
    try:
        found = json.loads(runner("status", "-f", path, "--json").out)
        assert {each["name"] for each in found["services"]} == {"web", "worker", "scheduler"}
        for name in ("web", "worker", "scheduler"):
            assert wait_until_said(tmp_path / "var", name)
    finally:
        assert runner("stop", "-f", path).code == 0


def wait_until_said(root: Path, service: str) -> bool:
    """Whether the service told, within some seconds, that it runs with its variables."""

    def said() -> bool:
        texts = [path.read_text() for path in root.glob(f"*/logs/{service}/*.log")]
        return f"started {service} as test" in "".join(texts)

    return wait_for(said)


@pytest.mark.parametrize("form", importers.NAMES)
def test_an_instance_is_made_of_it(form: str, runner: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "app", form)
    done = runner("init", "made", "--yes", "--dir", tmp_path, "--set", f"root={tmp_path}/var", "--from", path)
    assert done.code == 0, done.err
    services = loader.load_instance(str(tmp_path / "made")).config.services
    assert set(services) == {"web", "worker", "scheduler"}
    assert {service.cwd for service in services.values()} == {"../app"}
    done = runner("run", tmp_path / "made")
    assert done.code == 0, done
    try:
        for name in services:
            assert wait_until_said(tmp_path / "var", name)
    finally:
        assert runner("stop", tmp_path / "made").code == 0


def test_what_is_not_carried_over_is_said_with_its_line(runner: Any, tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text("services:\n  a:\n    image: x\n    command: sleep 60\n    volumes: [b:/c]\n")
    done = runner("run", "-f", path)
    assert done.code == 0, done
    assert f"{path}:3: a.image: not carried over: " in done.err
    assert f"{path}:5: a.volumes: not carried over: " in done.err
    assert runner("stop", "-f", path).code == 0


def test_what_came_from_outside_stays_out_of_git(runner: Any, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TOKEN=s3cret-it's\n")
    path = tmp_path / "compose.yaml"
    path.write_text("services: {a: {command: 'sleep ${TOKEN}', environment: {KEY: 'k-${TOKEN}'}}}\n")
    done = runner("init", "made", "--yes", "--dir", tmp_path, "--set", f"root={tmp_path}/var", "--from", path)
    assert done.code == 0, done.err
    folder = tmp_path / "made"
    kept = folder / ".env.a"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "s3cret" in kept.read_text()
    assert ".env.a" in done.err
    for words in (("log", "-p", "--all"), ("status", "--porcelain"), ("ls-files",)):
        done = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True)
        assert "s3cret" not in done.stdout
        assert words[0] == "log" or ".env.a" not in done.stdout


def test_a_forced_format_and_a_wrong_one(runner: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "app", "circus")
    assert runner("run", "-f", path, "--format", "nonsense").code == 2
    done = runner("run", "-f", path, "--format", "compose")
    assert done.code == 4
    assert done.err.startswith(f"ampzero: error: {path}:")
