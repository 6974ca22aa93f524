"""What a thief can do with each key, and what not: a test for each row of the table in docs/security.md."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from keys_support import KeysPlace

from keys import announcement, history, keyfile, note, operation, root, statement
from keys.announcement import Announcement
from keys.errors import HeadError, TrustError
from keys.fields import encode
from keys.hub import LocalHub
from keys.hubapi import HubApi
from keys.keyfile import PrivateKey
from keys.lifecycle import drafts
from keys.operation import Operation
from keys.tls import pin
from keys.tls.authority import Authority
from keys.tls.certificate import read_certificate
from lib.errors import AmpzeroError, MissingError, RefusedError

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs/security.md"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeysPlace:
    return KeysPlace(tmp_path / "place", monkeypatch)


def stolen(place: KeysPlace, kind: str, part: str) -> PrivateKey:
    """A thief's copy of a secret key."""
    return keyfile.load(place.found.path(kind, part))


def lie(place: KeysPlace, key: PrivateKey, seq: int) -> str:
    """An announcement of the host with an address and a TLS key of a thief."""
    host, now = place.found.host, datetime.now(UTC)
    said = Announcement(host.id, host.genesis, seq, ("203.0.113.66:8043",), encode(b"t" * 32), True, now,
                        now + timedelta(minutes=59))  # fmt: skip
    return announcement.sign(said, key)


def change_of_keys(place: KeysPlace, id: str, *signers: PrivateKey) -> operation.SignedOperation:
    """An operation that gives `id` a thief's keys, signed by what he has and by the new ones."""
    state = history.verified(place.hub.operations(id)).state
    new, control = PrivateKey.generate(), PrivateKey.generate()
    made = Operation("rotate", state.seq + 1, datetime.now(UTC), new.public,
                     (*state.control[:-1], control.public), prev=state.head)  # fmt: skip
    return operation.sign(made, [*signers, new, control])


def own_host(place: KeysPlace, owner: PrivateKey, *controls: PrivateKey) -> operation.SignedOperation:
    """The first operation of a host of a thief's, taken by the user."""
    signing, own = PrivateKey.generate(), PrivateKey.generate()
    keys = (*controls, own)
    made = Operation("register", 1, datetime.now(UTC), signing.public, tuple(key.public for key in keys),
                     kind="host", owner=place.found.user.genesis)  # fmt: skip
    return operation.sign(made, [signing, *keys], owner=owner)


def test_host_private_key(place: KeysPlace) -> None:
    thief = stolen(place, "host", "private")
    id = place.found.host_id
    place.hub.announce(id, lie(place, thief, 1))  # this he can, for an hour
    with pytest.raises(TrustError, match="control key"):
        place.hub.operate(id, change_of_keys(place, id, thief))
    place.do("rotate host")
    with pytest.raises(MissingError):
        place.hub.announcement(id)
    with pytest.raises(TrustError):
        place.hub.announce(id, lie(place, thief, 2))


def test_user_private_key(place: KeysPlace) -> None:
    thief = stolen(place, "user", "private")
    with pytest.raises(TrustError, match="control key"):
        place.hub.operate("user-1", change_of_keys(place, "user-1", thief))
    # A host needs a control key of its owner's too: he who has both can add hosts, within the quota.
    with pytest.raises(TrustError, match="highest control key"):
        place.hub.register(own_host(place, thief))
    control = stolen(place, "user", "control")
    assert "host-2" in place.hub.register(own_host(place, thief, control))
    place.do("rotate user --control")
    with pytest.raises(TrustError):
        place.hub.register(own_host(place, thief, control))


def test_host_control_key(place: KeysPlace) -> None:
    thief = stolen(place, "host", "control")
    place.hub.operate("host-1", change_of_keys(place, "host-1", thief))
    with pytest.raises(TrustError):
        place.hub.operate("user-1", change_of_keys(place, "user-1", thief))
    with pytest.raises(HeadError, match="SOMEBODY ELSE"):
        place.do("rotate host")
    place.do("recover host")
    assert place.problems() == []
    with pytest.raises(TrustError):
        place.hub.operate("host-1", change_of_keys(place, "host-1", thief))


def test_user_control_key(place: KeysPlace) -> None:
    recovery = PrivateKey.generate()
    place.change("recovery", drafts.add_recovery(recovery))
    thief = stolen(place, "user", "control")
    place.hub.operate("user-1", change_of_keys(place, "user-1", thief))
    place.change("recover user", drafts.recover("user", recovery), follow=True)
    assert place.problems() == [] and place.found.user.control[0].key == recovery.public
    for id in ("user-1", "host-1"):
        with pytest.raises(TrustError):
            place.hub.operate(id, change_of_keys(place, id, thief))


def test_recovery_key(place: KeysPlace) -> None:
    """It ranks highest: who has it has the identity, and nobody can take it away from him."""
    recovery = PrivateKey.generate()
    place.change("recovery", drafts.add_recovery(recovery))
    state = history.verified(place.hub.operations("user-1")).state
    new, control = PrivateKey.generate(), PrivateKey.generate()
    made = Operation("recover", state.seq + 1, datetime.now(UTC), new.public,
                     (recovery.public, control.public), prev=state.head)  # fmt: skip
    place.hub.operate("user-1", operation.sign(made, [recovery, new, control]))
    with pytest.raises(TrustError, match="no control key"):
        place.do("recover user")


class Lying:
    """The hub, with some answers of a thief's."""

    def __init__(self, hub: HubApi, **answers: object) -> None:
        self._hub, self._answers = hub, answers

    def __getattr__(self, name: str) -> object:
        return (lambda *_: self._answers[name]) if name in self._answers else getattr(self._hub, name)


def test_hub_online_key(place: KeysPlace) -> None:
    online = keyfile.load(place.data / "hub/online.key")
    found, verifier = place.found, place.hub.root.verifier
    # Of somebody whom nobody knows yet he can say what he likes.
    newcomer = replace(found.user, id="user-99", genesis=encode(b"g" * 32), head=encode(b"g" * 32))
    assert statement.verify(statement.sign(newcomer, online), verifier) == newcomer
    # Of somebody whose operations are known he cannot: they are not his to sign.
    forged = statement.sign(replace(found.host, signing=PrivateKey.generate().public), online)
    lying = cast(HubApi, Lying(place.hub, statement=forged))
    before = {path.name: path.read_bytes() for path in place.folder.iterdir()}
    with pytest.raises(TrustError):
        place.change("rotate host", drafts.rotate("host", control=False), hub=lying)
    assert {path.name: path.read_bytes() for path in place.folder.iterdir()} == before
    found.path("host", "public").write_text(forged)
    assert place.problems()
    # And he cannot make himself the hub: its root key says which online key speaks for it.
    other = replace(place.hub.root, version=2, online=PrivateKey.generate().public)
    with pytest.raises(TrustError):
        root.verify(str(note.sign(other.text, [(root.root_name(other.origin), online)])),
                    place.hub.root)  # fmt: skip


def test_hub_database(place: KeysPlace) -> None:
    forged = Operation("register", 1, datetime.now(UTC), PrivateKey.generate().public,
                       (PrivateKey.generate().public,), kind="user")  # fmt: skip
    text = forged.text + "\n— ampzero/operation AAAA\n"
    with closing(sqlite3.connect(place.data / "hub/hub.sqlite")) as database, database:
        database.execute("update operations set note = ? where log_index = 0", (text,))
    with pytest.raises(TrustError):
        LocalHub.open().renew("user-1")
    with closing(sqlite3.connect(place.data / "hub/hub.sqlite")) as database, database:
        database.execute("delete from operations")
    # Censored: nothing is said any more; what the owner holds is as good as before.
    with pytest.raises(AmpzeroError):
        LocalHub.open().renew("user-1")
    for kind in ("user", "host"):
        held = history.parse(place.found.path(kind, "operations").read_text())
        assert held.state.signing == keyfile.load(place.found.path(kind, "private")).public


def test_malicious_hub(place: KeysPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has all keys of the hub, and makes an identity of its own in the place of one that is held."""
    found = place.found
    held = history.parse(found.path("host", "operations").read_text())
    other = KeysPlace(tmp_path / "other", monkeypatch)
    false_chain = other.hub.operations("host-1")
    monkeypatch.setenv("XDG_DATA_HOME", str(place.base))
    online = keyfile.load(place.data / "hub/online.key")
    false = replace(statement.parse(other.hub.statement("host-1"))[0], hub=place.hub.name)
    lying = cast(HubApi, Lying(place.hub, operations=false_chain, statement=statement.sign(false, online)))
    assert not history.verified(false_chain).begins_with(held)
    with pytest.raises(TrustError):
        place.change("rotate host", drafts.rotate("host", control=False), hub=lying)
    assert place.problems() == []


def test_revoked_keys(place: KeysPlace) -> None:
    thief = stolen(place, "host", "private")
    place.do("revoke host")
    with pytest.raises(RefusedError, match="revoked"):
        place.hub.announce("host-1", lie(place, thief, 1))


def test_tls_key(place: KeysPlace) -> None:
    """Who has it is this host on the wire, until there is another key with a pin of its own."""
    tls = place.folder.parent / "nginx"
    tls.mkdir()
    authority, host = Authority.open(), keyfile.load(place.found.path("host", "private"))
    names, addresses = ("localhost",), ("127.0.0.1",)
    authority.issue(tls / "old.cert", tls / "old.key", names, addresses)
    authority.issue(tls / "new.cert", tls / "new.key", names, addresses)
    signed = pin.sign_pin(host, tls / "new.cert")
    pin.verify_pin(signed, read_certificate(tls / "new.cert"), host.public)
    with pytest.raises(TrustError, match="not of the key"):
        pin.verify_pin(signed, read_certificate(tls / "old.cert"), host.public)


def test_the_table_names_these_tests_and_no_other() -> None:
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT.read_text()))
    here = {
        name
        for name in globals()
        if name.startswith("test_") and name != "test_the_table_names_these_tests_and_no_other"
    }
    elsewhere = {"test_the_ca_cannot_sign_for_others", "test_a_stolen_laptop_opens_nothing_any_more"}
    assert named == here | elsewhere
