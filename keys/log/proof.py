"""Whether a proof shows what it should: RFC 9162, sections 2.1.3.2 and 2.1.4.2. Pure; needs no log."""

from __future__ import annotations

from collections.abc import Sequence

from keys.errors import TrustError
from keys.log.merkle import EMPTY, HASH, node

MAX_HASHES = 65
"""Of a proof in a log of fewer than 2**64 entries."""


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """The entry with the hash `leaf` is the entry `index` of the log of `size` entries with this `root`.

    Raises: TrustError.
    """
    if not 0 <= index < size:
        raise TrustError(f"a log of {size} entries has no entry {index}")
    _check(proof, leaf, root)
    at, last, hash = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise TrustError("an inclusion proof of too many hashes")
        if at % 2 or at == last:
            hash = node(sibling, hash)
            while not at % 2 and at:
                at, last = at >> 1, last >> 1
        else:
            hash = node(hash, sibling)
        at, last = at >> 1, last >> 1
    if last or hash != root:
        raise TrustError(f"entry {index} is not in the log of {size} entries that the checkpoint is about")


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """The log of `new_size` entries begins with the entries of the log of `old_size`.

    Raises: TrustError.
    """
    if not 0 <= old_size <= new_size:
        raise TrustError(f"a log of {new_size} entries does not begin with {old_size}")
    _check(proof, old_root, new_root)
    changed = TrustError(f"the log of {new_size} entries does not begin with the {old_size} that were there")
    if old_size in (0, new_size):
        # Every log is a continuation of the empty one, which has one root only.
        if proof or (old_root != new_root if old_size == new_size else old_root != EMPTY):
            raise changed
        if new_size == 0 and new_root != EMPTY:
            raise changed
        return
    hashes = list(proof)
    if old_size & (old_size - 1) == 0:
        hashes.insert(0, old_root)  # a whole subtree of the new one: the reader has its hash
    if not hashes:
        raise changed
    at, last = old_size - 1, new_size - 1
    while at % 2:
        at, last = at >> 1, last >> 1
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise TrustError("a consistency proof of too many hashes")
        if at % 2 or at == last:
            old, new = node(sibling, old), node(sibling, new)
            while not at % 2 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node(new, sibling)
        at, last = at >> 1, last >> 1
    if last or old != old_root or new != new_root:
        raise changed


def _check(proof: Sequence[bytes], *hashes: bytes) -> None:
    if len(proof) > MAX_HASHES or any(len(hash) != HASH for hash in (*hashes, *proof)):
        raise TrustError(f"a proof has at most {MAX_HASHES} hashes of {HASH} bytes")
