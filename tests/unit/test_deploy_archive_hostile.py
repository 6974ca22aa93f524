"""Tars that are none of ours: cut, changed, or made to get out of their folder. Nothing of them is left."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

import pytest
from archive_support import MTIME, names, packed, read_back, readlink, unpacked
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.agent import tarblock
from deploy.agent.archive import Entry, link
from deploy.agent.errors import AgentError


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
