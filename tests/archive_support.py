"""Trees of the tests of deploy's archive: any that may be; packed, unpacked and read back."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable
from pathlib import Path

from hypothesis import strategies as st

from deploy.agent.archive import Entry, extract, link, tree_digest, write

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
