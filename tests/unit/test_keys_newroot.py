"""A hub with a new root: an instance's keys follow it when they are changed, from version to version."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from keys_support import KeysPlace

from keys import keyfile, root
from keys.errors import TrustError
from keys.hub import rootnotes
from keys.identities import HUB_FILE
from keys.lifecycle import bundle
from keys.lifecycle.examine import examine
from keys.lifecycle.hubside import root_notes
from keys.lifecycle.report import Report


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeysPlace:
    return KeysPlace(tmp_path / "place", monkeypatch)


def renew(place: KeysPlace) -> None:
    """Give the hub a next root, with another online key."""
    folder = place.data / "hub"
    current = root.verify(rootnotes.read(folder))
    text = rootnotes.draft(current, datetime.now(UTC), online=rootnotes.next_online_key(folder))
    rootnotes.install(folder, rootnotes.add_signature(text, keyfile.load(folder / "root.key")))


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("words", ["rotate host", "rotate user --control"])
def test_the_keys_follow(place: KeysPlace, words: str, times: int) -> None:
    before = (place.folder / HUB_FILE).read_bytes()
    for _ in range(times):
        renew(place)
    assert place.found.hub == place.hub.name  # what is on the disk holds as it is
    place.do(words)
    assert root.verify((place.folder / HUB_FILE).read_bytes()).version == times + 1
    assert (place.folder / HUB_FILE).read_bytes() != before
    assert place.problems() == [] and place.found.warnings == ()
    assert not list(place.folder.glob("*.previous"))


def test_an_export_has_every_root_from_the_known_one_on(place: KeysPlace) -> None:
    for _ in range(2):
        renew(place)
    found = bundle.from_hub(place.hub, place.folder, place.found)
    assert len(found.roots) == 3
    report = Report()
    examine(found, report, datetime.now(UTC))
    assert report.problems == []
    found.roots.pop(1)
    report = Report()
    examine(found, report, datetime.now(UTC))
    assert report.problems


def test_another_hubs_root_is_refused(
    place: KeysPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = (place.folder / HUB_FILE).read_text()
    renew(place)
    newer = place.hub.root_note
    other = KeysPlace(tmp_path / "other", monkeypatch)
    with pytest.raises(TrustError, match="not the one of these keys"):
        root_notes(other.hub, known)
    with pytest.raises(TrustError):
        root_notes(other.hub, newer)
