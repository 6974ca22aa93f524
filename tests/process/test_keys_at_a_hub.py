"""Keys changed at a hub that is a server: by the installed command, by thieves, while it is away."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_support import LIFTED, Served, serving
from support import Ampzero, Result

from keys.identities import load_identities
from keys.lifecycle import bundle


class Place:
    """An instance whose keys are of a hub that is a server."""

    def __init__(self, folder: Path, hub: Served, ampzero: Ampzero) -> None:
        self.app = folder / "app"
        self.keys = self.app / "ampnode"
        self.hub = hub
        self._ampzero = ampzero
        made = ampzero("init", "app", "--yes", "--dir", folder, "--set", f"root={folder}/var",
                       "--hub", str(hub.reference))  # fmt: skip
        assert made.code == 0, made.err

    def __call__(self, verb: str, *arguments: str | Path) -> Result:
        return self._ampzero("keys", verb, self.app, *arguments)

    def done(self, verb: str, *arguments: str | Path) -> str:
        result = self(verb, *arguments)
        assert result.code == 0, result.err
        return result.out


@pytest.fixture
def place(tmp_path: Path, ampzero: Ampzero) -> Iterator[Place]:
    with serving(tmp_path / "hub", *LIFTED) as hub:
        yield Place(tmp_path, hub, ampzero)


def test_a_whole_life(place: Place, tmp_path: Path, ampzero: Ampzero) -> None:
    first = load_identities(place.keys)
    place.done("rotate", "host")
    place.done("rotate", "user", "--control")
    place.done("recovery", tmp_path / "recovery.key")
    place.done("revoke", "user", "--yes")
    place.done("recover", "user", "--key", tmp_path / "recovery.key")
    place.done("recover", "host")
    text = place.done("verify", "--online")
    assert "WRONG" not in text and text.count("knows no newer operation") == 2
    assert "hub        it is the one of" in text
    last = load_identities(place.keys)
    assert (last.user.genesis, last.host.genesis) == (first.user.genesis, first.host.genesis)
    assert (last.user.seq, last.host.seq) == (5, 6)
    file = tmp_path / "app.json"
    place.done("export", "-o", file)
    assert bundle.read(file).host.proof is not None
    alone = ampzero("keys", "verify", file, env={"XDG_DATA_HOME": str(tmp_path / "none")})
    assert alone.code == 0 and "is entry" in alone.out


def test_a_copy_of_the_instance_notices_that_the_keys_were_changed(place: Place, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", place.app, copy], check=True)
    place.done("rotate", "user")
    original, place.app = place.app, copy
    for verb in ("rotate", "revoke"):
        result = place(verb, "user")
        assert result.code == 7 and "SOMEBODY ELSE CHANGED THE KEYS OF user-1" in result.err, result.err
    result = place("verify", "--online")
    assert result.code == 1 and "SOMEBODY ELSE" in result.err
    assert place("verify").code == 0  # its files are in order; only the hub knows more
    place.app = original
    place.done("rotate", "user")


def test_while_the_hub_is_away_nothing_is_lost(place: Place, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in place.keys.glob("*.key")}
    port, folder = place.hub.port, place.hub.folder
    assert place.hub.end() == 0
    result = place("rotate", "user", "--control")
    assert result.code == 12 and result.err.count("ampzero: error:") == 1, result.err
    assert {path.name: path.read_bytes() for path in place.keys.glob("*.key")} == before
    assert place("verify").code == 0
    with serving(folder, *LIFTED, port=port):
        place.done("rotate", "user", "--control")
        assert load_identities(place.keys).user.seq == 2
        assert "WRONG" not in place.done("verify", "--online")
