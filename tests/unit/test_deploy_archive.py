"""Tars of trees: the same bytes for the same files, and nothing hostile gets out of one."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.agent import archive, tarblock
from deploy.agent.archive import Entry, digest, extract, link, tree_digest, write
from deploy.agent.errors import AgentError

MTIME = 1_700_000_000
NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=60
)
GOOD = NAMES.filter(lambda name: name not in (".", "..", "__pycache__") and len(name.encode()) <= 255)


@st.composite
def trees(draw: st.DrawFn) -> list[Entry]:
    """The entries of a tree that may be."""
    entries: dict[str, Entry] = {}
    folders: set[str] = set()
    for parts in draw(st.lists(st.lists(GOOD, min_size=1, max_size=5), max_size=12)):
        path = "/".join(parts)
        above = {"/".join(parts[:count]) for count in range(1, len(parts))}
        if path in folders or above & entries.keys():
            continue
        folders |= above
        if draw(st.integers(0, 3)):
            data = draw(st.binary(max_size=1500))
            entries[path] = Entry(path, draw(st.sampled_from([0o644, 0o755])), data)
        else:
            ups = draw(st.sampled_from(["", "./", ".//"])) + "../" * draw(st.integers(0, len(parts) - 1))
            entries[path] = link(path, ups + "/".join(draw(st.lists(GOOD, min_size=1, max_size=4))))
    return list(entries.values())


def readlink(path: Path) -> str:
    return os.readlink(path)  # noqa: PTH115 -- Path's own changes a target as ./a


def names(folder: Path | str) -> list[str]:
    return [path.name for path in Path(folder).iterdir()]


def packed(entries: Iterable[Entry], mtime: int = MTIME) -> bytes:
    out = io.BytesIO()
    written = write(entries, out, mtime)
    assert written.sha256 == hashlib.sha256(out.getvalue()).hexdigest()
    assert written.digest == tree_digest(entries)
    return out.getvalue()


def unpacked(
    data: bytes, folder: Path, limit: int = 1 << 24, files: int = 1000, *, name: str = "tree",
    like: Path | None = None,
) -> Path:  # fmt: skip
    tar = folder / f"{name}.tar"
    tar.write_bytes(data)
    extract(tar, folder / name, limit=limit, files=files, like=like)
    return folder / name


def read_back(folder: Path) -> dict[str, tuple[int, bytes]]:
    found = {}
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode & 0o7777
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = (0o777, readlink(path).encode())
        elif path.is_file():
            found[name] = (mode, path.read_bytes())
        else:
            assert mode == 0o755
    return found


def as_read(entries: Iterable[Entry]) -> dict[str, tuple[int, bytes]]:
    return {each.path: (each.mode, each.target.encode() or b"".join(each.chunks())) for each in entries}


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


def member(
    kind: bytes = tarfile.REGTYPE, path: str = "a", target: str = "", data: bytes = b""
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.type, info.linkname, info.mtime, info.size = kind, target, MTIME, len(data)
    info.mode = 0o777 if kind == tarfile.SYMTYPE else 0o644
    return info


def foreign(*members: tarfile.TarInfo, form: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar by the standard library's writer, which takes anything; every content is zeros."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:", format=form) as tar:
        for each in members:
            tar.addfile(each, io.BytesIO(bytes(each.size)))
    # Its last block is filled to 10 KiB; ours ends after the two of the end.
    data = out.getvalue().rstrip(b"\0")
    return data + bytes(-len(data) % 512 + 1024)


def header(path: str, mode: int, size: int = 0, target: str = "", mtime: int = MTIME) -> bytes:
    return tarblock.Header(path, mode, size, mtime, target).encode()


def with_field(start: int, value: bytes) -> bytes:
    """A member's block with other bytes at `start`, and the checksum that they make."""
    block = bytearray(header("a", 0o644))
    block[start : start + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + END


END = bytes(1024)
PLAIN = member()
HOSTILE: dict[str, bytes] = {
    "absolute": header("/a", 0o644) + END,
    "up": header("../a", 0o644) + END,
    "up inside": header("b/../../a", 0o644) + END,
    "root": header("/", 0o644) + END,
    "no name": header("", 0o644) + END,
    "itself": header(".", 0o644) + END,
    "link out": header("a", 0o777, target="../../etc") + END,
    "link to the root": header("a", 0o777, target="/etc/passwd") + END,
    "link down and up": header("a/b", 0o777, target="c/../../../d") + END,
    "through a link": header("a", 0o777, target="b") + header("a/c", 0o644) + END,
    "below a file": header("a", 0o644) + header("a/c", 0o644) + END,
    "twice": header("a", 0o644) * 2 + END,
    "out of order": header("b", 0o644) + header("a", 0o644) + END,
    "compiled": header("__pycache__/a.pyc", 0o644) + END,
    "setuid": header("a", 0o4755) + END,
    "no mode": header("a", 0) + END,
    "link with content": header("a", 0o777, 512, "b") + bytes(512) + END,
    "hard link": foreign(PLAIN, member(tarfile.LNKTYPE, "b", "a")),
    "hard link out": foreign(member(tarfile.LNKTYPE, "b", "/etc/passwd")),
    "folder": foreign(member(tarfile.DIRTYPE, "d")),
    "block device": foreign(member(tarfile.BLKTYPE)),
    "character device": foreign(member(tarfile.CHRTYPE)),
    "fifo": foreign(member(tarfile.FIFOTYPE)),
    "contiguous": foreign(member(tarfile.CONTTYPE)),
    "socket": with_field(156, b"s"),
    "sparse": with_field(156, b"S"),
    "old file": with_field(156, b"\0"),
    "GNU long name": foreign(member(path="n" * 200), form=tarfile.GNU_FORMAT),
    "GNU volume": with_field(156, b"V"),
    "global pax": with_field(156, b"g"),
    "owner": with_field(108, b"0001750\0"),
    "owner's name": with_field(265, b"root"),
    "prefix": with_field(345, b"/etc"),
    "device number": with_field(329, b"0000001\0"),
    "GNU magic": with_field(257, b"ustar  \0"),
    "base 256 size": with_field(124, b"\x80" + bytes(10) + b"\x01"),
    "negative size": with_field(124, b"-0000000001\0"),
    "no size": with_field(124, bytes(12)),
    "spaces in the size": with_field(124, b"          0\0"),
    "padding of a header": with_field(500, b"x"),
    "bytes behind a name": with_field(2, b"hidden"),
    "name that is no text": with_field(0, b"\xff\xfe"),
    "bad checksum": b"b" + header("a", 0o644)[1:] + END,
    "noise": bytes(range(256)) * 4,
    "nothing": b"",
    "one zero block": bytes(512),
    "zero block between": bytes(512) + header("a", 0o644) + END,
    "behind the end": header("a", 0o644) + END + b"\0",
    "no end": header("a", 0o644),
    "half an end": header("a", 0o644) + bytes(512),
    "cut in a header": header("a", 0o644)[:300],
    "cut in the content": header("a", 0o644, 700) + bytes(512),
    "cut in the padding": header("a", 0o644, 700) + bytes(900),
    "hidden in the padding": header("a", 0o644, 1) + b"x" + b"y" * 511 + END,
    "size beyond the end": header("a", 0o644, 8**11 - 1) + END,
    "pax that was not needed": tarblock._ustar("././@PaxHeader", 0o644, 10, 0, b"x", "")
    + tarblock.padded(b"10 path=a\n")
    + header("a", 0o644)
    + END,
    "pax without a member": header("ä", 0o644)[:1024] + END,
    "two pax": header("ä", 0o644)[:1024] * 2 + header("ä", 0o644)[1024:] + END,
    "empty pax name": header("ä", 0o644).replace(b"path=\xc3\xa4", b"path=\0\0") + END,
    "other pax key": header("ä", 0o644).replace(b"path=\xc3\xa4", b"size=99") + END,
    "pax length": header("ä", 0o644).replace(b"11 path", b"99 path") + END,
    "pax that leaves": header("../" + "ä", 0o644) + END,
    "pax link that leaves": header("a", 0o777, target="../" + "ä" * 80) + END,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_tar_is_refused_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(AgentError):
        unpacked(HOSTILE[name], tmp_path / "in")
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "tree.tar"]


def test_the_tar_that_hostile_ones_are_made_of_is_good(tmp_path: Path) -> None:
    assert read_back(unpacked(with_field(0, b"a"), tmp_path)) == {"a": (0o644, b"")}


@pytest.mark.parametrize(("limit", "files", "good"), [(300, 3, True), (299, 3, False), (300, 2, False)])
def test_an_archive_is_no_larger_than_said(limit: int, files: int, good: bool, tmp_path: Path) -> None:
    data = packed([Entry(name, 0o644, b"x" * 100) for name in "abc"])
    if good:
        unpacked(data, tmp_path, limit, files)
    else:
        with pytest.raises(AgentError, match="larger than it may be, from 'c' on"):
            unpacked(data, tmp_path, limit, files)
        assert not (tmp_path / "tree").exists()


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/kept").touch()
    with pytest.raises(AgentError, match="cannot make") as raised:
        unpacked(packed([Entry("a")]), tmp_path)
    assert raised.value.exit_code == 8
    assert (tmp_path / "tree/kept").exists()


SAMPLE = packed(
    [Entry("a/b", 0o755, b"x" * 700), Entry("ä", 0o644, b"y"), link("a/c", "../ä"), Entry("n" * 120)]
)


@given(st.integers(0, len(SAMPLE)))
@settings(max_examples=100)
def test_a_tar_that_is_cut_anywhere_is_refused(length: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        if length == len(SAMPLE):
            unpacked(SAMPLE, Path(scratch))
            return
        with pytest.raises(AgentError):
            unpacked(SAMPLE[:length], Path(scratch))
        assert names(scratch) == ["tree.tar"]


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=400)
def test_a_tar_with_other_bytes_is_refused_or_is_the_tar_of_other_files(
    changes: list[tuple[int, int]],
) -> None:
    data = bytearray(SAMPLE)
    for place, value in changes:
        data[place] = value
    refused_or_canonical(bytes(data))


@given(st.binary(max_size=3000))
@settings(max_examples=200)
def test_noise_is_refused(data: bytes) -> None:
    refused_or_canonical(data)
    refused_or_canonical(header("a", 0o644, len(data)) + data)


def refused_or_canonical(data: bytes) -> None:
    """Either nothing is left, or what is extracted is written to exactly the same tar again."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "place"
        place.mkdir()
        try:
            tree = unpacked(data, place)
        except AgentError:
            assert names(place) == ["tree.tar"]
        else:
            found = {path for path in tree.rglob("*") if not path.is_dir() or path.is_symlink()}
            times = {int(path.lstat().st_mtime) for path in found if not path.is_symlink()}
            entries = [
                link(path.relative_to(tree).as_posix(), readlink(path))
                if path.is_symlink()
                else Entry(path.relative_to(tree).as_posix(), path.stat().st_mode & 0o7777, path.read_bytes())
                for path in found
            ]
            if len(times) == 1:
                assert len(packed(entries, times.pop())) == len(data)
        assert names(scratch) == ["place"]


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
