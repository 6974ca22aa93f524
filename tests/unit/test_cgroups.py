"""Where the cgroup of a service is made with v2, on a tree of plain files that stands for the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.supervisor import cgroups

CEILINGS = {"memory": 50_000_000, "pids": 20}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cgroup that we are in: a unit's, in a slice, in the root."""
    folder = tmp_path / "system.slice/ours.service"
    folder.mkdir(parents=True)
    (tmp_path / "cgroup.controllers").touch()
    for each in (tmp_path, folder.parent, folder):
        (each / "cgroup.subtree_control").write_text("memory pids\n")
    monkeypatch.setattr(cgroups, "CGROUPS", tmp_path)
    monkeypatch.setattr(cgroups, "_own", lambda controller: folder)
    return folder


def hands_on_nothing(folder: Path) -> None:
    """As the kernel has it for a cgroup with processes: it can be read, and takes nothing."""
    (folder / "cgroup.subtree_control").unlink()
    (folder / "cgroup.subtree_control").mkdir()


def made(root: Path) -> list[Path]:
    return sorted(root.rglob("ampzero-*"))


def test_under_systemd_the_ceiling_lies_in_the_slice(own: Path, tmp_path: Path) -> None:
    """Below the unit's own there was no memory.max, and the rlimit served instead."""
    hands_on_nothing(own)
    cgroups.hold(77, "x-web.1-1", CEILINGS)
    assert made(tmp_path) == [own.parent / "ampzero-x-web.1-1"]
    files = {path.name: path.read_text() for path in made(tmp_path)[0].iterdir()}
    assert files == {"memory.max": "50000000", "pids.max": "20", "cgroup.procs": "77"}


def test_one_that_lacks_a_controller_is_passed_over_and_not_changed(own: Path, tmp_path: Path) -> None:
    hands_on_nothing(own)
    (own.parent / "cgroup.subtree_control").write_text("pids\n")
    cgroups.hold(77, "x-web.1-1", CEILINGS)
    assert made(tmp_path) == [tmp_path / "ampzero-x-web.1-1"]
    assert (own.parent / "cgroup.subtree_control").read_text() == "pids\n"


def test_where_none_can_be_made_nothing_is_left(own: Path, tmp_path: Path) -> None:
    for each in (own, own.parent, tmp_path):
        hands_on_nothing(each)
    with pytest.raises(OSError):
        cgroups.hold(77, "x-web.1-1", CEILINGS)
    assert made(tmp_path) == []


def test_a_cgroup_that_could_not_be_removed_goes_at_the_next_start(own: Path, tmp_path: Path) -> None:
    for name in ("x-web.1-1", "x-web.10-1", "y-web.1-1"):
        (own / f"ampzero-{name}").mkdir()
    cgroups.hold(77, "x-web.1-2", CEILINGS)
    assert [path.name for path in made(tmp_path)] == [
        "ampzero-x-web.1-2", "ampzero-x-web.10-1", "ampzero-y-web.1-1"
    ]  # fmt: skip


def test_a_death_for_memory_is_seen(own: Path) -> None:
    folder = own.parent / "ampzero-x-web.1-1"
    folder.mkdir()
    assert not cgroups.killed_for_memory("x-web.1-1")
    (folder / "memory.events").write_text("low 0\noom 1\noom_kill 0\n")
    assert not cgroups.killed_for_memory("x-web.1-1")
    (folder / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    assert cgroups.killed_for_memory("x-web.1-1")
