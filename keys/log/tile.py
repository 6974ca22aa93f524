"""Tiles: rows of the tree in files of at most 256 hashes, and bundles of the entries themselves.

Format: C2SP tlog-tiles (https://c2sp.org/tlog-tiles). A hash at level L is that of 256**L entries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from keys.errors import TrustError
from keys.log.merkle import HASH

HEIGHT = 8
WIDTH = 1 << HEIGHT
"""Hashes of a full tile."""
ENTRIES = -1
"""The level of entry bundles, below the hashes of the entries."""
MAX_ENTRY = 0xFFFF
"""Bytes of an entry: its length is written in two."""
_PATH = re.compile(
    r"tile/(0|[1-9][0-9]?|entries)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII
)
_MAX_PATH = 60


@dataclass(frozen=True)
class Tile:
    """The tile or bundle `number` (from 0) of its level; below 256, `width` says that it is a partial one."""

    level: int
    number: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where it is served, as tile/0/x001/x234/067.p/112."""
        digits = str(self.number)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        level = "entries" if self.level == ENTRIES else self.level
        return f"tile/{level}/{number}" + ("" if self.width == WIDTH else f".p/{self.width}")

    @property
    def start(self) -> int:
        """The first hash (or entry) of its level that is in it."""
        return self.number * WIDTH

    def check_size(self, size: int) -> None:
        """Whether a log of `size` entries has this tile, or had it when it was smaller.

        Raises: TrustError.
        """
        if self.start + self.width > size >> (HEIGHT * max(self.level, 0)):
            raise TrustError(f"a log of {size} entries has no {self.path}")


def parse(path: str) -> Tile:
    """The tile that is served at `path`, which begins with `tile/`.

    Raises: TrustError.
    """
    match = _PATH.fullmatch(path) if len(path) <= _MAX_PATH else None
    if match:
        level = ENTRIES if match[1] == "entries" else int(match[1])
        tile = Tile(level, int(match[2].replace("x", "").replace("/", "")), int(match[3] or WIDTH))
        # A number has one spelling (no x000 before it), and a full tile no width.
        if level < 64 and tile.path == path and tile.width <= WIDTH:
            return tile
    raise TrustError(f"not the path of a tile: {path[:_MAX_PATH]!r}")


def holding(level: int, number: int, size: int) -> Tile:
    """The tile `number` of a level as a log of `size` entries has it.

    Raises: TrustError where it has none.
    """
    width = min(WIDTH, (size >> (HEIGHT * max(level, 0))) - number * WIDTH)
    if width < 1:
        raise TrustError(f"a log of {size} entries has no tile {number} of level {level}")
    return Tile(level, number, width)


def covering(size: int) -> Iterator[Tile]:
    """All tiles of a log of `size` entries, from the entries' hashes up; not its bundles."""
    level = 0
    while count := size >> (HEIGHT * level):
        for number in range(-(-count // WIDTH)):
            yield holding(level, number, size)
        level += 1


def hashes(tile: Tile, raw: bytes) -> list[bytes]:
    """The hashes in the content of a tile.

    Raises: TrustError.
    """
    if len(raw) != tile.width * HASH:
        raise TrustError(f"{tile.path} has {len(raw)} bytes and not {tile.width * HASH}")
    return [raw[at : at + HASH] for at in range(0, len(raw), HASH)]


def bundle(entries: Sequence[bytes]) -> bytes:
    """The content of an entry bundle.

    Raises: TrustError where an entry is too long.
    """
    if any(len(entry) > MAX_ENTRY for entry in entries):
        raise TrustError(f"an entry of more than {MAX_ENTRY} bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def unbundle(tile: Tile, raw: bytes) -> list[bytes]:
    """The entries in the content of an entry bundle. Compare their hashes with those of level 0.

    Raises: TrustError.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(raw) and len(entries) < tile.width:
        end = at + 2 + int.from_bytes(raw[at : at + 2], "big")
        if end > len(raw) or at + 2 > len(raw):
            break
        entries.append(raw[at + 2 : end])
        at = end
    if at != len(raw) or len(entries) != tile.width:
        raise TrustError(f"{tile.path} does not hold {tile.width} entries")
    return entries
