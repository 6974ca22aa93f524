"""keys/log: tiles, bundles, checkpoints and entries, as C2SP tlog-tiles and tlog-checkpoint have them."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import note
from keys.errors import TrustError
from keys.fields import encode
from keys.keyfile import PrivateKey
from keys.log import checkpoint, entry, merkle, tile
from keys.log.checkpoint import Checkpoint
from keys.log.tile import ENTRIES, Tile

SPEC_CHECKPOINT = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/"
    "Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
"""The example of tlog-checkpoint; the specification does not give its key."""
KEY = PrivateKey.generate()
LOG = note.Verifier("hub.example", KEY.public)


@pytest.mark.parametrize(
    ("one", "path"),
    [
        (Tile(0, 1234067), "tile/0/x001/x234/067"),  # the specification's example
        (Tile(0, 1234067, 8), "tile/0/x001/x234/067.p/8"),
        (Tile(0, 0), "tile/0/000"),
        (Tile(63, 999, 255), "tile/63/999.p/255"),
        (Tile(2, 1000), "tile/2/x001/000"),
        (Tile(ENTRIES, 0, 1), "tile/entries/000.p/1"),
        (Tile(ENTRIES, 1234067, 8), "tile/entries/x001/x234/067.p/8"),
    ],
)
def test_paths(one: Tile, path: str) -> None:
    assert one.path == path
    assert tile.parse(path) == one


@pytest.mark.parametrize(
    "path",
    [
        "", "tile", "tile/0", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/x000/000",
        "tile/0/x001/x234/67", "tile/00/000", "tile/64/000", "tile/-1/000", "tile/0/000.p", "tile/0/000.p/0",
        "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/999",
        "tile/0/001/000", "tile/0/x001/x000", "tile/entries/000/",
        "/tile/0/000", "tile/0/000\n", "tile/0/٠٠٠", "tile/0/" + "x001/" * 20 + "000", "tile/Entries/000",
    ],
)  # fmt: skip
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(TrustError):
        tile.parse(path)


@given(st.integers(-1, 63), st.integers(0, 10**18), st.integers(1, 256))
def test_every_tile_has_one_path(level: int, number: int, width: int) -> None:
    assert tile.parse(Tile(level, number, width).path) == Tile(level, number, width)


@given(st.text(max_size=70) | st.from_regex(r"tile/(\d+|entries)/(x\d\d\d/)*\d\d\d(\.p/\d+)?"))
def test_any_path(path: str) -> None:
    with suppress(TrustError):
        assert tile.parse(path).path == path


def test_the_tiles_of_70000_entries_are_those_of_the_specification() -> None:
    found = list(tile.covering(70_000))
    assert Counter((one.level, one.width) for one in found) == {
        (0, 256): 273, (0, 112): 1, (1, 256): 1, (1, 17): 1, (2, 1): 1,
    }  # fmt: skip
    assert list(tile.covering(256)) == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(tile.covering(0)) == []


@given(st.integers(0, 2**40), st.integers(-1, 6), st.integers(0, 2**33))
def test_the_tile_that_a_log_has_is_the_widest(size: int, level: int, number: int) -> None:
    try:
        one = tile.holding(level, number, size)
    except TrustError:
        with pytest.raises(TrustError):
            Tile(level, number, 1).check_size(size)
        return
    one.check_size(size)
    if one.width < tile.WIDTH:
        with pytest.raises(TrustError):
            Tile(level, number, one.width + 1).check_size(size)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256), st.binary(max_size=3))
def test_bundles(entries: list[bytes], more: bytes) -> None:
    raw = tile.bundle(entries)
    one = Tile(ENTRIES, 0, len(entries))
    assert tile.unbundle(one, raw) == entries
    for wrong in (raw[:-1], raw + (more or b"\0"), raw + b"\0\0"):
        with pytest.raises(TrustError):
            tile.unbundle(one, wrong)


@given(st.binary(max_size=2000), st.integers(1, 256))
def test_any_bytes_as_a_bundle_or_a_tile(raw: bytes, width: int) -> None:
    one = Tile(ENTRIES, 0, width)
    with suppress(TrustError):
        assert tile.bundle(tile.unbundle(one, raw)) == raw
    hashes = Tile(0, 0, width)
    try:
        assert b"".join(tile.hashes(hashes, raw)) == raw
    except TrustError:
        assert len(raw) != width * 32


def test_an_entry_that_is_too_long_for_a_bundle() -> None:
    assert len(tile.bundle([bytes(65535)])) == 65537
    with pytest.raises(TrustError):
        tile.bundle([bytes(65536)])


def test_the_checkpoint_of_the_specification() -> None:
    found, envelope = checkpoint.parse(SPEC_CHECKPOINT)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.text == envelope.text
    assert str(envelope) == SPEC_CHECKPOINT


def test_a_checkpoint_is_believed_from_its_log_only() -> None:
    said = Checkpoint("hub.example", 3, merkle.leaf(b"x"))
    signed = checkpoint.sign(said, KEY)
    assert checkpoint.verify(signed, LOG) == said
    with pytest.raises(TrustError, match="not signed"):
        checkpoint.verify(signed, note.Verifier("hub.example", PrivateKey.generate().public))
    with pytest.raises(TrustError, match="not of"):
        checkpoint.verify(signed, note.Verifier("other.example", KEY.public))
    with pytest.raises(TrustError, match="is wrong"):
        checkpoint.verify(signed.replace("\n3\n", "\n4\n"), LOG)
    extended = str(note.sign(said.text + "of others\n", [("hub.example", KEY)]))
    assert checkpoint.verify(extended, LOG).extensions == ("of others",)


@pytest.mark.parametrize(
    "text",
    [
        "hub.example\n", "hub.example\n3\n", "hub.example\n03\nROOT\n", "hub.example\n-3\nROOT\n",
        "hub.example\n3\nROOT\n\n", "\n3\nROOT\n", "hub.example\n3\nAAAA\n", "hub.example\n٣\nROOT\n",
        "hub.example\n0\nROOT\n", "hub.example\n3438945738945739845734895735\nROOT\n",
        "hub.example\n3\nROOT\n" + "x\n" * 17,
    ],
)  # fmt: skip
def test_what_is_no_checkpoint(text: str) -> None:
    signed = note.sign(text.replace("ROOT", encode(merkle.leaf(b"x"))), [("hub.example", KEY)])
    with pytest.raises(TrustError):
        checkpoint.verify(str(signed), LOG)


def test_an_empty_log_has_a_checkpoint() -> None:
    said = Checkpoint("hub.example", 0, merkle.EMPTY)
    assert said.text == "hub.example\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    assert checkpoint.verify(checkpoint.sign(said, KEY), LOG) == said


@given(st.binary(max_size=5000))
def test_any_bytes_as_a_checkpoint_or_an_entry(raw: bytes) -> None:
    with pytest.raises(TrustError):
        checkpoint.parse(raw)
    with suppress(TrustError):
        assert entry.encode(*entry.decode(raw)) == raw


def test_entries() -> None:
    assert entry.encode("host-7", "note\n") == b"host-7\nnote\n"
    assert entry.decode(b"host-7\nnote\n") == ("host-7", "note\n")
    for wrong in (b"", b"host-7", b"host-7\n", b"host-07\nnote\n", b"\xff", b"host-7\n" + b"x" * 4097):
        with pytest.raises(TrustError):
            entry.decode(wrong)
