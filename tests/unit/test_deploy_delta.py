"""Patches: any two trees, rebuilt to the byte; and whatever else is given, refused."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy import delta
from deploy.agent import archive, patch
from deploy.agent.archive import Entry
from deploy.agent.errors import AgentError

NAMES = st.sampled_from(
    ["a", "a/b", "lib/x-1.2.so", "lib/x-1.3.so", "lib/X-1.2.so", "z", "é" * 60, "n" * 120]
)
CONTENT = st.one_of(
    st.binary(max_size=2000), st.integers(0, 50).map(lambda seed: random.Random(seed).randbytes(3000))
)
TREE = st.dictionaries(NAMES, CONTENT, max_size=8)


def tar(path: Path, files: dict[str, bytes], mtime: int = 1) -> str:
    entries = [Entry(name, data=data) for name, data in files.items() if name != "a" or "a/b" not in files]
    with path.open("wb") as stream:
        return archive.write(entries, stream, mtime).sha256


def make(folder: Path, old: dict[str, bytes], new: dict[str, bytes]) -> tuple[Path, Path, Path, str]:
    base, patched, made = folder / "old", folder / "patch", folder / "made"
    tar(base, old, 1)
    wanted = tar(folder / "new", new, 2)
    delta.build(base, folder / "new", patched)
    return base, patched, made, wanted


@settings(max_examples=60)
@given(TREE, TREE)
def test_a_patch_rebuilds_the_new_tar_to_the_byte(
    tmp_path_factory: pytest.TempPathFactory, old: dict[str, bytes], new: dict[str, bytes]
) -> None:
    base, patched, made, wanted = make(tmp_path_factory.mktemp("delta"), old, new)
    patch.apply(patched, base, made)
    assert hashlib.sha256(made.read_bytes()).hexdigest() == wanted


def test_one_changed_line_travels_alone_though_every_header_has_a_new_time(tmp_path: Path) -> None:
    old = {f"f{number}": random.Random(number).randbytes(5000) for number in range(200)}
    new = old | {"f77": old["f77"][:2000] + b"one line\n" + old["f77"][2000:]}
    base, patched, made, wanted = make(tmp_path, old, new)
    assert patched.stat().st_size < 400
    patch.apply(patched, base, made)
    assert hashlib.sha256(made.read_bytes()).hexdigest() == wanted


def test_a_library_with_another_version_in_its_name_starts_from_the_old_one(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(100_000)
    new = {"lib/libx-0a1b2c3d.so.1.3": content[:50_000] + b"new" + content[50_000:]}
    _, patched, _, _ = make(tmp_path, {"lib/libx-4e5f6071.so.1.2": content}, new)
    assert patched.stat().st_size < 2000


def test_a_file_that_was_moved_starts_from_where_it_was(tmp_path: Path) -> None:
    content = random.Random(4).randbytes(50_000)
    _, patched, _, _ = make(tmp_path, {"a/AUTHORS": content}, {"b/c/AUTHORS": content + b"one more"})
    assert patched.stat().st_size < 1000


def test_a_file_larger_than_a_segment_is_rebuilt(tmp_path: Path) -> None:
    content = random.Random(2).randbytes(1 << 20) * 40
    old, new = {"big": content}, {"big": content[: 20 << 20] + b"more" + content[20 << 20 :]}
    base, patched, made, wanted = make(tmp_path, old, new)
    assert patched.stat().st_size < 3 << 20
    patch.apply(patched, base, made)
    assert hashlib.sha256(made.read_bytes()).hexdigest() == wanted


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_patch_is_refused_or_gives_another_hash(tmp_path_factory: pytest.TempPathFactory,
                                                           data: st.DataObject) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("damaged")
    content = random.Random(3).randbytes(3000)
    base, patched, made, wanted = make(
        folder, {"a": content, "b": b"same"}, {"a": content[5:], "b": b"same", "c": b"n"}
    )
    raw = bytearray(patched.read_bytes())
    kind = data.draw(st.sampled_from(["flip", "cut", "add"]))
    if kind == "flip":
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    else:
        raw += data.draw(st.binary(min_size=1, max_size=50))
    patched.write_bytes(raw)
    try:
        patch.apply(patched, base, made)
    except AgentError:
        return
    # The caller's hash finds the rest: a flipped bit may be a number that still makes sense.
    assert kind == "flip"
    assert hashlib.sha256(made.read_bytes()).hexdigest() != wanted


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_garbage_is_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    folder = tmp_path_factory.mktemp("garbage")
    tar(folder / "old", {"a": b"1"})
    (folder / "patch").write_bytes(patch.MAGIC + raw)
    with pytest.raises(AgentError):
        patch.apply(folder / "patch", folder / "old", folder / "made")
