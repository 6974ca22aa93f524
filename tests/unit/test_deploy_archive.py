"""Tars of trees: the same bytes for the same files, extracted as they were written."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from archive_support import MTIME, as_read, packed, read_back, trees, unpacked
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.agent.archive import Entry, digest, link, tree_digest
from deploy.agent.errors import AgentError


@given(trees())
@settings(max_examples=150)
def test_what_is_written_is_extracted(entries: list[Entry]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        tree = unpacked(packed(entries), Path(scratch))
        assert read_back(tree) == as_read(entries)
        assert digest(tree) == tree_digest(entries)


@given(trees(), trees())
@settings(max_examples=100)
def test_a_tree_beside_another_is_what_it_would_be_alone(before: list[Entry], entries: list[Entry]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        old = unpacked(packed(before), Path(scratch), name="old")
        tree = unpacked(packed([*entries], MTIME + 9), Path(scratch), name="new", like=old)
        assert read_back(tree) == as_read(entries)
        assert digest(tree) == tree_digest(entries)
        assert read_back(old) == as_read(before)


def test_only_what_is_just_the_same_is_shared(tmp_path: Path) -> None:
    large = bytes(3 << 20)
    before = [Entry("a/same", 0o644, b"1"), Entry("a/other", 0o644, b"2"), Entry("large", 0o755, large),
              Entry("last", 0o644, large), Entry("mode", 0o644, b"3"), Entry("gone", 0o644, b"4"),
              Entry("link", 0o644, b"5"), Entry("pipe", 0o644, b"6")]  # fmt: skip
    old = unpacked(packed(before), tmp_path, name="old")
    (old / "link").unlink()
    (old / "link").symlink_to("a/same")
    (old / "pipe").unlink()
    os.mkfifo(old / "pipe")
    after = [Entry("a/same", 0o644, b"1"), Entry("a/other", 0o644, b"x"), Entry("large", 0o755, large),
             Entry("last", 0o644, large[:-1] + b"x"), Entry("mode", 0o755, b"3"), Entry("new", 0o644, b"4"),
             Entry("link", 0o644, b"1"), Entry("pipe", 0o644, b"6")]  # fmt: skip
    tree = unpacked(packed(after), tmp_path, name="new", like=old)
    assert read_back(tree) == as_read(after)
    shared = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.lstat().st_nlink == 2
              and not path.is_dir()}  # fmt: skip
    assert shared == {"a/same", "large"}


@given(trees(), st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_any_order_of_entries_gives_the_same_bytes(entries: list[Entry], order: random.Random) -> None:
    shuffled = entries.copy()
    order.shuffle(shuffled)
    assert packed(shuffled) == packed(entries)
    assert tree_digest(shuffled) == tree_digest(entries)


@given(trees())
@settings(max_examples=100)
def test_the_standard_library_reads_our_tars(entries: list[Entry]) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(entries)), mode="r:") as tar:
        found = {}
        for member in tar:
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
            assert member.mtime == MTIME
            content = tar.extractfile(member) if member.isreg() else None
            found[member.name] = (member.mode, content.read() if content else member.linkname.encode())
        assert list(found) == sorted(found, key=str.encode)
    assert found == as_read(entries)


def test_the_bytes_are_the_same_on_every_machine_and_python() -> None:
    entries = [
        Entry("bin/run", 0o755, b"#!/bin/sh\n"), Entry("a/" + "n" * 150, 0o644, b"x" * 512),
        Entry("für", 0o644, b""), link("l", "a/" + "n" * 150), link("bin/up", "../für"),
    ]  # fmt: skip
    assert hashlib.sha256(packed(entries)).hexdigest() == GOLDEN
    assert tree_digest(entries) == GOLDEN_TREE


GOLDEN = "7716ad1cde4de8e9347d81d688271de6c2843a551bfdc5259e34a46546e1fe4d"
GOLDEN_TREE = "745e3aa352dda32afdf0c3d1feb11d4e900d72b22f1453c7c798e8e0b011a666"


def test_gnu_tar_reads_our_tars(tmp_path: Path) -> None:
    if not shutil.which("tar"):
        pytest.skip("no tar")
    entries = [Entry("a/" + "n" * 150, 0o755, b"x" * 1000), Entry("b", 0o644, b"y"), link("c", "a")]
    (tmp_path / "t.tar").write_bytes(packed(entries))
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        ["tar", "-xf", tmp_path / "t.tar", "-C", tmp_path / "out"], capture_output=True, umask=0o022
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert read_back(tmp_path / "out") == as_read(entries)


def test_content_may_be_opened_late_and_must_have_its_size(tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"abc" * 1_000_000)

    def entry(size: int) -> Entry:
        return Entry("big", 0o644, lambda: content.open("rb"), size=size)

    assert packed([entry(3_000_000)]) == packed([Entry("big", 0o644, content.read_bytes())])
    for wrong in (2_999_999, 3_000_001, 0):
        with pytest.raises(AgentError, match="'big' changed while it was read"):
            packed([entry(wrong)])


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([Entry("/etc/passwd")], "'/etc/passwd' leaves the tree"),
        ([Entry("a/../../b")], "leaves the tree"),
        ([Entry("..")], "leaves the tree"),
        ([Entry("")], "no path of a file"),
        ([Entry("a//b")], "no path of a file"),
        ([Entry("a/")], "no path of a file"),
        ([Entry("./a")], "no path of a file"),
        ([Entry("a\0b")], "no path of a file"),
        ([Entry("\udc80")], "must be UTF-8"),
        ([Entry("n" * 256)], "too long"),
        ([Entry("/".join(["n" * 100] * 12))], "too long"),
        ([Entry("/".join(["n"] * 65))], "too long"),
        ([Entry("a/__pycache__/b.pyc")], "compiled files"),
        ([Entry("a"), Entry("a")], "'a' is there twice"),
        ([Entry("a"), Entry("a-b"), Entry("a/b")], "'a/b' is below 'a', which is no folder"),
        ([link("a", "b"), Entry("a/c")], "'a/c' is below 'a'"),
        ([link("a", "/etc")], "the link 'a' leaves the tree: /etc"),
        ([link("a", "../b")], "the link 'a' leaves the tree"),
        ([link("a/b/c", "../../../d")], "the link 'a/b/c' leaves the tree"),
        ([link("a/b", "c/../../d")], "down and up again"),
        ([link("a", "b" * 1025)], "its target"),
        ([link("a", "b\0c")], "its target"),
        ([Entry("a", 0o4755)], "the mode 4755"),
        ([Entry("a", 0o600)], "the mode 600"),
        ([Entry("a", 0o777)], "the mode 777"),
        ([Entry("a", 0o644, b"", "b")], "the mode 644"),
        ([Entry("a", 0o777, b"x", "b")], "a link and a file"),
    ],
)
def test_what_cannot_be_in_a_tree_is_named_when_it_is_built(entries: list[Entry], words: str) -> None:
    with pytest.raises(AgentError) as raised:
        packed(entries)
    assert words in raised.value.message
    with pytest.raises(AgentError):
        tree_digest(entries)
