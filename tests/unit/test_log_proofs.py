"""keys/log: the vectors of RFC 6962's first implementation, and that proofs hold just where they should."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import TrustError
from keys.log import merkle, tile
from keys.log.proof import verify_consistency, verify_inclusion
from keys.log.tile import HEIGHT, Tile
from keys.log.tree import Tree

CT_ENTRIES = [
    bytes.fromhex(entry)
    for entry in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
"""The entries of the tests of google/certificate-transparency (Merkle tree), and of many others since."""
CT_ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
CT_INCLUSION = {
    (0, 1): (),
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
    (1, 5): (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}
CT_CONSISTENCY = {
    (1, 1): (),
    (1, 8): CT_INCLUSION[0, 8],
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}


def naive(hashes: list[bytes]) -> bytes:
    """The definition of RFC 6962, section 2.1, word by word."""
    if len(hashes) <= 1:
        return hashes[0] if hashes else hashlib.sha256(b"").digest()
    middle = 1
    while middle * 2 < len(hashes):
        middle *= 2
    return hashlib.sha256(b"\x01" + naive(hashes[:middle]) + naive(hashes[middle:])).digest()


def reader(leaves: list[bytes]) -> Callable[[Tile], list[bytes]]:
    """Tiles by their definition in tlog-tiles."""

    def read(one: Tile) -> list[bytes]:
        span = 1 << (HEIGHT * one.level)
        first = one.start
        return [naive(leaves[at * span : (at + 1) * span]) for at in range(first, first + one.width)]

    return read


def tree_of(size: int) -> tuple[Tree, list[bytes]]:
    leaves = [merkle.leaf(str(number).encode()) for number in range(size)]
    return Tree(size, reader(leaves)), leaves


def test_the_roots_of_certificate_transparency() -> None:
    leaves = [merkle.leaf(entry) for entry in CT_ENTRIES]
    for size, root in enumerate(CT_ROOTS):
        assert Tree(size, reader(leaves)).root().hex() == root
        assert merkle.fold(leaves[:size]).hex() == root


@pytest.mark.parametrize(("index", "size"), CT_INCLUSION)
def test_the_inclusion_proofs_of_certificate_transparency(index: int, size: int) -> None:
    leaves = [merkle.leaf(entry) for entry in CT_ENTRIES]
    proof = Tree(size, reader(leaves)).inclusion(index)
    assert tuple(hash.hex() for hash in proof) == CT_INCLUSION[index, size]
    verify_inclusion(index, size, leaves[index], proof, bytes.fromhex(CT_ROOTS[size]))


@pytest.mark.parametrize(("old", "new"), CT_CONSISTENCY)
def test_the_consistency_proofs_of_certificate_transparency(old: int, new: int) -> None:
    proof = Tree(new, reader([merkle.leaf(entry) for entry in CT_ENTRIES])).consistency(old)
    assert tuple(hash.hex() for hash in proof) == CT_CONSISTENCY[old, new]
    verify_consistency(old, bytes.fromhex(CT_ROOTS[old]), new, bytes.fromhex(CT_ROOTS[new]), proof)


def test_the_subtree_vectors_of_the_merkle_tree_certificates_draft() -> None:
    """draft-ietf-plants-merkle-tree-certs, "Subtree Test Vectors": hashes of all answers in order."""
    leaves = [merkle.leaf(bytes([number])) for number in range(130)]
    hashes, proofs = hashlib.sha256(), hashlib.sha256()
    for end in range(131):
        tree = Tree(end, reader(leaves))
        for start in range(end + 1):
            if start < end and start % (1 << (end - start - 1).bit_length()):
                continue
            hashes.update(f"[{start}, {end}) {tree.hash((start, end)).hex()}\n".encode())
            for index in range(start, end):
                path = [tree.hash(each).hex() for each in merkle.inclusion(index, start, end)]
                proofs.update(" ".join([f"{index} [{start}, {end})", *path]).encode() + b"\n")
    assert hashes.hexdigest() == "b82806ad4265bb151c1119c0f4db437bb4d1a1f887b3a7fba1cd4ebf552e3e81"
    assert proofs.hexdigest() == "ac2a8f989e44d99e399db448050ff5f19757df53cfb716aa81015d3955d8163f"


SIZES = st.one_of(st.integers(1, 40), st.integers(200, 800), st.sampled_from([255, 256, 257, 511, 512, 513]))


@given(SIZES, st.data())
def test_an_entry_of_any_log_is_proved_and_no_other(size: int, data: st.DataObject) -> None:
    tree, leaves = tree_of(size)
    index = data.draw(st.integers(0, size - 1))
    root, proof = tree.root(), tree.inclusion(index)
    assert root == naive(leaves)
    verify_inclusion(index, size, leaves[index], proof, root)
    other = data.draw(st.integers(0, size + 3).filter(lambda number: number != index))
    for wrong in (
        (other, size, leaves[index], proof, root),
        (index, size, leaves[index] if other >= size else leaves[other], [*proof, root], root),
        (index, size, merkle.leaf(b"another"), proof, root),
        (index, size, leaves[index], [*proof, merkle.EMPTY], root),
        (index, size, leaves[index], [merkle.EMPTY, *proof], root),
        (index, size, leaves[index], proof, merkle.EMPTY),
        *([(index, size, leaves[index], proof[:-1], root)] if proof else []),
    ):
        with pytest.raises(TrustError):
            verify_inclusion(*wrong)
    if proof:
        with pytest.raises(TrustError):
            verify_inclusion(index, size, leaves[index], tampered(proof, data), root)


@given(SIZES, st.data())
def test_any_log_is_proved_to_have_grown_out_of_any_smaller_one(size: int, data: st.DataObject) -> None:
    tree, leaves = tree_of(size)
    old = data.draw(st.integers(0, size))
    old_root, root = naive(leaves[:old]), tree.root()
    proof = tree.consistency(old)
    verify_consistency(old, old_root, size, root, proof)
    forged = merkle.leaf(b"forged")
    for wrong in (
        (old, forged, size, root, proof),
        (old, old_root, size, root, [*proof, merkle.EMPTY]),
        (old, old_root, size, root, [merkle.EMPTY, *proof]),
        (size + 1, root, size, root, proof),
        (-1, old_root, size, root, proof),
        # Of an empty log everything is a continuation, so no root can be refused there.
        *([(old, old_root, size, forged, proof)] if old else [(0, forged, 0, forged, [])]),
        *([(old, old_root, size, root, proof[:-1])] if proof else []),
        *([(old, old_root, size, root, tampered(proof, data))] if proof else []),
    ):
        with pytest.raises(TrustError):
            verify_consistency(*wrong)


@given(st.integers(2, 600), st.data())
def test_a_history_that_was_rewritten_is_refused_with_any_proof(size: int, data: st.DataObject) -> None:
    tree, leaves = tree_of(size)
    old = data.draw(st.integers(1, size))
    changed = list(leaves)
    changed[data.draw(st.integers(0, old - 1))] = merkle.leaf(b"rewritten")
    other = Tree(size, reader(changed))
    for proof in (tree.consistency(old), other.consistency(old)):
        with pytest.raises(TrustError):
            verify_consistency(old, naive(leaves[:old]), size, other.root(), proof)


@given(st.integers(-2, 70), st.integers(-2, 70), st.lists(st.binary(min_size=31, max_size=33), max_size=70))
def test_any_numbers_and_hashes(one: int, two: int, proof: list[bytes]) -> None:
    root = merkle.leaf(b"root")
    with pytest.raises(TrustError):
        verify_inclusion(one, two, merkle.leaf(b"x"), proof, root)
    with pytest.raises(TrustError):
        verify_consistency(one, merkle.leaf(b"x"), two, root, proof)


def tampered(proof: list[bytes], data: st.DataObject) -> list[bytes]:
    at = data.draw(st.integers(0, len(proof) - 1))
    bit = data.draw(st.integers(0, 255))
    flipped = (int.from_bytes(proof[at], "big") ^ (1 << bit)).to_bytes(32, "big")
    return [*proof[:at], flipped, *proof[at + 1 :]]


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 70_000])
def test_logs_with_tiles_of_three_levels(size: int) -> None:
    leaves = [merkle.leaf(str(number).encode()) for number in range(size)]
    rows = [leaves]
    while len(rows[-1]) >= tile.WIDTH:
        rows.append([merkle.fold(rows[-1][at : at + 256]) for at in range(0, len(rows[-1]) - 255, 256)])
    reads: list[Tile] = []

    def read(one: Tile) -> list[bytes]:
        reads.append(one)
        return rows[one.level][one.start : one.start + one.width]

    root = merkle.fold(leaves)
    assert Tree(size, read).root() == root
    for index in (0, 255, 256, 40_000, size - 1):
        reads.clear()
        verify_inclusion(index, size, leaves[index], Tree(size, read).inclusion(index), root)
        assert len(reads) == len(set(reads)) <= 5
        verify_consistency(
            index, merkle.fold(leaves[:index]), size, root, Tree(size, read).consistency(index)
        )
