"""`ampzero init --clobber`: what was generated again, and what was the user's."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from support import Ampzero, Result


def git(folder: Path, *arguments: str) -> str:
    argv = ["git", "-c", "user.name=Me", "-c", "user.email=me@localhost", *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, check=True).stdout.decode().strip()


def save(folder: Path, message: str = "mine") -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)


@pytest.fixture
def instance(ampzero: Ampzero, tmp_path: Path) -> Path:
    done = ampzero("init", "app", "--yes", "--dir", tmp_path, "--set", f"root={tmp_path}/var")
    assert done.code == 0, done.err
    return tmp_path / "app"


def clobber(ampzero: Ampzero, folder: Path, *more: str) -> Result:
    done = ampzero("init", "app", "--clobber", "--yes", "--dir", folder.parent, *more)
    assert "Traceback" not in done.err
    assert b"<<<<<<<" not in b"".join(p.read_bytes() for p in folder.glob("*") if p.is_file())
    return done


def keys(folder: Path) -> dict[str, str]:
    files = [*folder.rglob("*.key"), folder / "nginx/server.cert"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_nothing_to_change(ampzero: Ampzero, instance: Path) -> None:
    head = git(instance, "rev-parse", "HEAD")
    done = clobber(ampzero, instance)
    assert (done.code, "nothing to change" in done.out) == (0, True)
    assert git(instance, "rev-parse", "HEAD") == head


def test_new_answers_change_what_the_user_did_not(ampzero: Ampzero, instance: Path) -> None:
    before = keys(instance)
    done = clobber(ampzero, instance, "--set", "port=9443")
    assert done.code == 0, done.err
    assert "written: amprun.yaml" in done.out
    assert "port: 9443" in (instance / "amprun.yaml").read_text()
    assert f'amprun_root_directory: "{instance.parent}/var"' in (instance / "amprun.yaml").read_text()
    assert keys(instance) == before
    assert git(instance, "status", "--porcelain") == ""
    # The new answers are the remembered ones from now on.
    assert "nothing to change" in clobber(ampzero, instance).out
    assert "port: 9443" in (instance / "amprun.yaml").read_text()


def test_a_users_change_elsewhere_in_the_file_is_merged(ampzero: Ampzero, instance: Path) -> None:
    path = instance / "amprun.yaml"
    path.write_text(path.read_text() + "  mine:\n    command: sleep 1\n")
    save(instance)
    done = clobber(ampzero, instance, "--set", "port=9443")
    assert done.code == 0, done.err
    assert "merged with your changes: amprun.yaml" in done.out
    text = path.read_text()
    assert "port: 9443" in text
    assert "command: sleep 1" in text
    assert git(instance, "status", "--porcelain") == ""
    git(instance, "reset", "-q", "--hard", "HEAD~1")  # as the message says
    assert "port: 8040" in path.read_text()
    assert "command: sleep 1" in path.read_text()


def test_the_same_line_is_a_conflict_that_keeps_the_users(ampzero: Ampzero, instance: Path) -> None:
    path = instance / "amprun.yaml"
    path.write_text(path.read_text().replace("port: 8040", "port: 7000"))
    save(instance)
    mine = path.read_text()
    done = clobber(ampzero, instance, "--set", "port=9443")
    assert done.code == 3
    assert "amprun.yaml" in done.err
    assert path.read_text() == mine
    assert "port: 9443" in (instance / "amprun.yaml.new").read_text()
    (instance / "amprun.yaml.new").unlink()
    # It was decided: it is not asked again.
    assert clobber(ampzero, instance).code == 0
    assert path.read_text() == mine


def test_twice_merged(ampzero: Ampzero, instance: Path) -> None:
    path = instance / "amprun.yaml"
    path.write_text(path.read_text() + "  mine:\n    command: sleep 1\n")
    save(instance)
    for port in (9001, 9002):
        assert clobber(ampzero, instance, "--set", f"port={port}").code == 0
    assert "port: 9002" in path.read_text()
    assert "command: sleep 1" in path.read_text()


def test_files_of_the_user_and_deleted_ones_stay(ampzero: Ampzero, instance: Path) -> None:
    (instance / "ampnode/services/mine.py").write_text("x = 1\n")
    (instance / "README.md").unlink()
    save(instance)
    done = clobber(ampzero, instance, "--set", "port=9443")
    assert done.code == 0
    assert (instance / "ampnode/services/mine.py").read_text() == "x = 1\n"
    assert not (instance / "README.md").exists()
    assert "deleted by you, left so: README.md" in done.out
    assert (instance / "README.md.new").exists()


@pytest.mark.parametrize("change", ["modified", "staged", "untracked", "deleted"])
def test_a_dirty_work_tree_is_refused_by_name(ampzero: Ampzero, instance: Path, change: str) -> None:
    name = "strange ü\nname" if change == "untracked" else "README.md"
    if change == "deleted":
        (instance / name).unlink()
    else:
        (instance / name).write_text("mine")
    if change == "staged":
        git(instance, "add", "-A")
    head, before = git(instance, "rev-parse", "HEAD"), keys(instance)
    done = clobber(ampzero, instance, "--set", "port=9443")
    assert done.code == 7
    assert ("strange ü name" if change == "untracked" else name) in done.err
    assert len(done.err.splitlines()) == 2
    assert "port: 8040" in (instance / "amprun.yaml").read_text()
    assert git(instance, "rev-parse", "HEAD") == head
    assert keys(instance) == before
    if change != "deleted":
        assert (instance / name).read_text() == "mine"


def test_keys_are_never_made_again(ampzero: Ampzero, instance: Path) -> None:
    """As in a clone, which has no secret keys: they are not made anew, as that would be another identity."""
    kinds = ("private", "control", "server")
    secrets = [path for path in instance.rglob("*.key") if path.stem.rpartition(".")[2] in kinds]
    for path in secrets:
        path.unlink()
    before = keys(instance)
    assert clobber(ampzero, instance, "--set", "port=9443").code == 0
    after = keys(instance)
    assert {name: after[name] for name in before} == before
    assert not [path for path in secrets if "ampnode" in str(path) and path.exists()]


def test_amended_history_loses_nothing(ampzero: Ampzero, instance: Path) -> None:
    path = instance / "amprun.yaml"
    path.write_text(path.read_text() + "  mine:\n    command: sleep 1\n")
    git(instance, "add", "-A")
    git(instance, "commit", "-q", "--amend", "--no-edit")
    mine = path.read_text()
    done = clobber(ampzero, instance, "--set", "port=9443")
    assert done.code == 3
    assert path.read_text() == mine
    assert "port: 9443" in (instance / "amprun.yaml.new").read_text()


def test_in_a_clone(ampzero: Ampzero, instance: Path, tmp_path: Path) -> None:
    path = instance / "amprun.yaml"
    path.write_text(path.read_text() + "  mine:\n    command: sleep 1\n")
    save(instance)
    (tmp_path / "clones").mkdir()
    git(tmp_path, "clone", "-q", str(instance), "clones/app")
    done = clobber(ampzero, tmp_path / "clones/app", "--set", "port=9443")
    assert done.code == 0, done.err
    text = (tmp_path / "clones/app/amprun.yaml").read_text()
    assert "port: 9443" in text
    assert "command: sleep 1" in text


def test_without_a_repository(ampzero: Ampzero, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/amprun.yaml").write_text("name: app\n")
    done = clobber(ampzero, tmp_path / "app")
    assert done.code == 5
    assert "not a git repository" in done.err
    assert [path.name for path in (tmp_path / "app").iterdir()] == ["amprun.yaml"]
    git(tmp_path / "app", "init", "-q")
    assert "no commit yet" in clobber(ampzero, tmp_path / "app").err
