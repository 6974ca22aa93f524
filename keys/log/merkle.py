"""The Merkle tree of RFC 6962 (section 2.1): hashes, and where in the tree a proof's hashes are. Pure.

A range (start, end) stands for the entries start to end - 1, and for the hash of the tree over them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from keys.errors import TrustError

Range = tuple[int, int]
HASH = 32
"""Bytes of a hash: SHA-256."""
EMPTY = hashlib.sha256(b"").digest()
"""The root of a log without entries."""


def leaf(entry: bytes) -> bytes:
    """The hash of one entry; the byte before it keeps entries and inner nodes apart."""
    return hashlib.sha256(b"\0" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\1" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over subtrees of one size, a power of two, of which the last one may be smaller."""
    row = list(hashes)
    while len(row) > 1:
        pairs = [node(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)]
        row = pairs + row[len(pairs) * 2 :]
    return row[0] if row else EMPTY


def split(size: int) -> int:
    """The entries in the left half of a tree: the largest power of two below `size`, which is above 1."""
    return int(1 << ((size - 1).bit_length() - 1))


def inclusion(index: int, start: int, end: int) -> list[Range]:
    """What, hashed in this order to the entry `index`, gives the tree over start to end: from its leaf up.

    Raises: TrustError where the entry is not in it.
    """
    if not start <= index < end:
        raise TrustError(f"entry {index} is not among the entries {start} to {end - 1}")
    path = []
    while end - start > 1:
        middle = start + split(end - start)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    return path[::-1]


def consistency(old: int, new: int) -> list[Range]:
    """What shows that the tree over the first `old` entries is the beginning of the one over `new`.

    Raises: TrustError.
    """
    if not 0 <= old <= new:
        raise TrustError(f"a log of {new} entries does not begin with {old}")
    if old in (0, new):
        return []
    start, end, whole, path = 0, new, True, []
    while old != end:
        middle = start + split(end - start)
        if old <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start, whole = middle, False
    # A tree that the reader has whole, as its root, need not be sent.
    return ([] if whole else [(start, end)]) + path[::-1]
