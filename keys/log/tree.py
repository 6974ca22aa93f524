"""A tree of a fixed size over tiles that come from a database or a server; makes roots and proofs."""

from __future__ import annotations

from collections.abc import Callable

from keys.log import merkle, tile
from keys.log.merkle import Range
from keys.log.tile import HEIGHT, WIDTH, Tile

Read = Callable[[Tile], list[bytes]]
"""Gives the hashes of a tile."""


class Tree:
    """The tree over the first `size` entries. Each tile is read once."""

    def __init__(self, size: int, read: Read) -> None:
        self.size = size
        self._read = read
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def root(self) -> bytes:
        """The root hash."""
        return self.hash((0, self.size))

    def inclusion(self, index: int) -> list[bytes]:
        """The proof that the entry `index` is in this tree (RFC 6962, section 2.1.1).

        Raises: TrustError where it is not.
        """
        return [self.hash(each) for each in merkle.inclusion(index, 0, self.size)]

    def consistency(self, old: int) -> list[bytes]:
        """The proof that this tree has grown out of the one over its first `old` entries (section 2.1.2).

        Raises: TrustError where this one is smaller.
        """
        return [self.hash(each) for each in merkle.consistency(old, self.size)]

    def hash(self, entries: Range) -> bytes:
        """The hash of a subtree: the range begins at a multiple of the power of two that it fits in."""
        start, end = entries
        smaller: list[bytes] = []
        level = 0
        while True:
            first, last = start >> (HEIGHT * level), end >> (HEIGHT * level)
            if first % WIDTH or last - first < WIDTH:
                return merkle.fold(self._row(level, first, last) + smaller)
            # What does not fill a tile of this level is the ragged right end of the row above.
            rest = self._row(level, last - last % WIDTH, last) + smaller
            smaller = [merkle.fold(rest)] if rest else []
            level += 1

    def _row(self, level: int, first: int, last: int) -> list[bytes]:
        """The hashes first to last - 1 of a level, all of which are in one tile."""
        if first == last:
            return []
        number = first // WIDTH
        hashes = self._tiles.get((level, number))
        if hashes is None:
            hashes = self._read(tile.holding(level, number, self.size))
            self._tiles[level, number] = hashes
        return hashes[first - number * WIDTH : last - number * WIDTH]
