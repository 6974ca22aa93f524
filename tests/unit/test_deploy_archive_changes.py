"""A tree on the disk: what was changed by hand is seen, and its modes are the archive's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from archive_support import MTIME, packed, unpacked

from deploy.agent import archive
from deploy.agent.archive import Entry, digest, link
from deploy.agent.errors import AgentError


def a_tree(folder: Path) -> Path:
    return unpacked(
        packed([Entry("a/b", 0o644, b"one"), Entry("c", 0o755, b"two"), link("d", "a/b")]), folder
    )


def relinked(place: Path, target: str) -> None:
    place.unlink()
    place.symlink_to(target)


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda tree: (tree / "a/b").write_bytes(b"oNe"),
    "mode": lambda tree: (tree / "c").chmod(0o744),
    "gone": lambda tree: (tree / "c").unlink(),
    "new": lambda tree: (tree / "a/new").touch(),
    "renamed": lambda tree: (tree / "c").rename(tree / "e"),
    "link": lambda tree: relinked(tree / "d", "c"),
    "file for a link": lambda tree: (tree / "c").rename(tree / "d"),
    "empty folder": lambda tree: (tree / "a/empty").mkdir(),
    "fifo": lambda tree: os.mkfifo(tree / "fifo"),
    "name that is no text": lambda tree: Path(os.fsdecode(bytes(tree) + b"/\xff")).touch(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_by_hand_is_seen(name: str, tmp_path: Path) -> None:
    tree = a_tree(tmp_path)
    before = digest(tree)
    CHANGES[name](tree)
    assert digest(tree) != before


def test_secrets_and_compiled_files_are_no_change(tmp_path: Path) -> None:
    tree = a_tree(tmp_path)
    before = digest(tree)
    (tree / "a/__pycache__").mkdir()
    (tree / "a/__pycache__/b.pyc").write_bytes(b"x")
    (tree / "keys").mkdir()
    (tree / "keys/secret").symlink_to("../../secrets/keys/secret")
    assert digest(tree) != before
    assert digest(tree, {"keys/secret"}) == before
    with pytest.raises(AgentError, match="cannot read"):
        digest(tmp_path / "none")


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        tree = a_tree(tmp_path)
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (tree, tree / "a", tree / "a/b", tree / "c")] == [
        0o755, 0o755, 0o644, 0o755,
    ]  # fmt: skip
    assert (tree / "c").stat().st_mtime == MTIME


def test_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "_settle", full)
    with pytest.raises(AgentError, match="No space left") as raised:
        a_tree(tmp_path)
    assert (raised.value.exit_code, raised.value.hint) == (8, "free some space")
    assert not (tmp_path / "tree").exists()
