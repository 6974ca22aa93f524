"""Root notes in versions: made at the hub, signed where the root keys are, installed at the hub."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from identity_support import NOW, Party

from keys import keyfile, note, root, statement
from keys.errors import TrustError
from keys.hub import Hub
from keys.hub.making import make
from keys.hub.rootnotes import add_signature, draft, install, next_online_key
from keys.keyfile import PrivateKey
from keys.log import checkpoint
from keys.root import Root
from lib.errors import MissingError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path / "hub", "hub.example", "https://hub.example", NOW)
    (tmp_path / "hub/root.key").rename(tmp_path / "root.key")  # as an operator should: it is elsewhere now
    return tmp_path / "hub"


def newest(folder: Path) -> Root:
    return root.verify((folder / "root.note").read_text())


def test_a_new_online_key(folder: Path) -> None:
    hub = Hub.open(folder, now=lambda: NOW)
    user = Party()
    text = hub.register(user.first)
    before = hub.checkpoint()
    online = next_online_key(folder)
    assert next_online_key(folder) == online
    signed = add_signature(draft(hub.root, NOW + timedelta(days=1), online=online), key(folder))
    assert install(folder, signed).version == 2
    assert install(folder, signed).version == 2  # again: the answer was lost
    hub.reload()
    assert (hub.root.version, hub.root.online) == (2, online)
    # What the old key signed is made anew; the log goes on and is the same.
    new = statement.verify(hub.statement("user-1"), hub.root.verifier)
    assert new == statement.parse(text)[0]
    with pytest.raises(TrustError):
        statement.verify(text, hub.root.verifier)
    now = checkpoint.verify(hub.checkpoint(), note.Verifier(hub.name, online))
    assert now == checkpoint.parse(before)[0]
    assert sorted(path.name for path in folder.glob("*.key")) == ["online.key"]
    # A client that knows version 1 only walks to this one.
    first = root.verify(hub.root_version(1))
    assert root.verify(hub.root_version(2), first) == hub.root == Hub.open(folder).root
    for version in (0, 3, -1):
        with pytest.raises(MissingError):
            hub.root_version(version)


def key(folder: Path) -> PrivateKey:
    return keyfile.load(folder.parent / "root.key")


def test_two_of_three_root_keys(folder: Path) -> None:
    others = [PrivateKey.generate() for _ in range(3)]
    second = draft(newest(folder), NOW, roots=tuple(each.public for each in others), threshold=2)
    one = add_signature(second, key(folder))
    for wrong in (
        one,
        add_signature(one, others[0]),
        add_signature(add_signature(second, others[0]), others[1]),
    ):
        with pytest.raises(TrustError):
            install(folder, wrong)
    assert newest(folder).version == 1
    whole = add_signature(add_signature(one, others[2]), others[0])
    assert add_signature(whole, others[0]).count("—") == 3  # twice by one key is once
    install(folder, whole)
    third = draft(newest(folder), NOW, url="https://other.example")
    assert newest(folder).threshold == 2
    with pytest.raises(TrustError):
        install(folder, add_signature(third, key(folder)))
    with pytest.raises(TrustError):
        install(folder, add_signature(third, others[0]))
    install(folder, add_signature(add_signature(third, others[0]), others[1]))
    assert newest(folder).url == "https://other.example"
    hub = Hub.open(folder)
    assert [root.verify(hub.root_version(version)).version for version in (1, 2, 3)] == [1, 2, 3]


def test_what_is_not_installed(folder: Path, tmp_path: Path) -> None:
    current = newest(folder)
    foreign = draft(current, NOW, online=PrivateKey.generate().public)
    with pytest.raises(MissingError, match="not the online key"):
        install(folder, add_signature(foreign, key(folder)))
    make(tmp_path / "other", "other.example", "https://other.example", NOW)
    other = draft(root.verify((tmp_path / "other/root.note").read_text()), NOW)
    with pytest.raises(TrustError):
        install(folder, add_signature(other, key(folder)))
    skipped = draft(root.parse_text(draft(current, NOW)), NOW)
    with pytest.raises(TrustError, match="does not follow"):
        install(folder, add_signature(skipped, key(folder)))
    for wrong in ("", "x", "x\n\ny", current.text[:-3]):
        with pytest.raises(TrustError):
            add_signature(wrong, key(folder))
    with pytest.raises(TrustError):
        draft(current, NOW, threshold=2)
    with pytest.raises(TrustError):
        draft(current, NOW, url="gopher://x")
    assert newest(folder) == current
    assert Hub.open(folder).root == current


def test_killed_between_the_note_and_the_key_it_completes_itself(folder: Path) -> None:
    """The root note is what counts: the next opening puts the key that it names in its place."""
    online = next_online_key(folder)
    text = add_signature(draft(newest(folder), NOW, online=online), key(folder))
    (folder / "root.1.note").write_bytes((folder / "root.note").read_bytes())
    (folder / "root.note").write_text(text)
    hub = Hub.open(folder)
    assert hub.root.online == online
    assert sorted(path.name for path in folder.glob("*.key")) == ["online.key"]
    statement.verify(hub.register(Party().first), hub.root.verifier)
