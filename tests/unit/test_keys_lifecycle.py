"""Keys rotated, revoked, recovered: by their owner, beside a thief, at a hub that lies."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from keys_support import KeysPlace

from keys import history, keyfile, operation
from keys.errors import HeadError, PassphraseError, TrustError
from keys.hubapi import HubApi
from keys.keyfile import PrivateKey
from keys.lifecycle import drafts
from keys.lifecycle.journal import Journal
from keys.operation import Operation, SignedOperation
from lib.errors import AmpzeroError, MissingError, TakenError


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeysPlace:
    return KeysPlace(tmp_path / "place", monkeypatch)


def fingerprints(place: KeysPlace) -> dict[str, str]:
    """The public keys of the secret files, which are read with their secrets."""
    found = place.found
    return {
        f"{kind} {part}": keyfile.load(found.path(kind, part), place.passphrase).public.fingerprint
        for kind in ("user", "host")
        for part in ("private", "control")
        if found.path(kind, part).exists()
    }


@pytest.mark.parametrize(
    ("words", "new", "seqs"),
    [
        ("rotate user", {"user private"}, (2, 1)),
        ("rotate host", {"host private"}, (1, 2)),
        ("rotate host --control", {"host private", "host control"}, (1, 2)),
        ("rotate user --control", {"user private", "user control"}, (2, 2)),
        ("recover host", {"host private", "host control"}, (1, 2)),
    ],
)
def test_a_change(place: KeysPlace, words: str, new: set[str], seqs: tuple[int, int]) -> None:
    before = fingerprints(place)
    outcome = place.do(words)
    after = fingerprints(place)
    assert {name for name in after if after[name] != before[name]} == new
    assert place.seqs() == seqs and place.problems() == []
    assert len(outcome.archived) == len(new) and not outcome.warnings and not outcome.resumed
    archived = {keyfile.load(path).public.fingerprint for path in outcome.archived}
    assert archived == {before[name] for name in new}
    for path in outcome.archived:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not list(place.folder.glob("*.previous"))
    for kind, part in (("user", "private"), ("host", "control")):
        assert stat.S_IMODE(place.found.path(kind, part).stat().st_mode) == 0o600
    # And again, by the keys that are there now.
    assert not place.do(words).resumed
    assert place.problems() == []


def test_revoked_and_given_a_key_again(place: KeysPlace) -> None:
    for number, who in enumerate(("user", "host"), 1):
        before = fingerprints(place)
        place.do(f"revoke {who}")
        found = place.found
        assert (found.user if who == "user" else found.host).signing is None
        assert not found.path(who, "private").exists() and place.problems() == [
            text for text in place.problems() if "TLS" in text
        ]
        with pytest.raises(MissingError):
            place.ring().need(who, "private")
        with pytest.raises(TrustError, match="revoked already"):
            place.do(f"revoke {who}")
        place.do(f"rotate {who}")
        assert fingerprints(place)[f"{who} private"] != before[f"{who} private"]
        assert place.problems() == [], number


def test_new_keys_have_the_passphrase_of_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = KeysPlace(tmp_path / "place", monkeypatch, "correct horse")
    place.do("rotate user --control")
    found = place.found
    assert found.encrypted
    for part in ("private", "control"):
        raw = keyfile.read(found.path("user", part))
        assert keyfile.header(raw).encrypted and keyfile.decode(raw, "correct horse")
        with pytest.raises(PassphraseError):
            keyfile.decode(raw, "other")
    place.passphrase = "other"
    with pytest.raises(AssertionError, match="asked"):
        place.do("rotate user")
    assert place.seqs() == (2, 2)


def recovery(place: KeysPlace) -> PrivateKey:
    key = PrivateKey.generate()
    place.change("recovery", drafts.add_recovery(key))
    return key


def test_a_recovery_key_stands_above_user_and_host(place: KeysPlace) -> None:
    key = recovery(place)
    found = place.found
    assert found.user.control[0].key == key.public == found.host.control[0].key
    assert [entry.holder for entry in found.host.control] == ["user-1", "user-1", "host-1"]
    assert place.problems() == []
    with pytest.raises(TrustError, match="already"):
        place.change("recovery", drafts.add_recovery(key))
    before = fingerprints(place)
    place.change("recover user", drafts.recover("user", key), follow=True)
    after = fingerprints(place)
    assert {name for name in after if after[name] != before[name]} == {"user private", "user control"}
    assert place.found.host.control[1].key == place.found.user.control[1].key
    assert place.problems() == []
    place.do("rotate user --control")
    place.do("rotate host --control")
    assert place.found.user.control[0].key == key.public and place.problems() == []


class Thief:
    """Has copies of some secret keys, and uses them at the hub."""

    def __init__(self, place: KeysPlace, *files: tuple[str, str]) -> None:
        self.hub = place.hub
        self.keys = [keyfile.load(place.found.path(kind, part)) for kind, part in files]

    def takes(self, id: str) -> None:
        """Put keys of his own in the place of those that he may change."""
        known = history.verified(self.hub.operations(id)).state
        own = next(key for key in self.keys if key.public in known.control)
        new, control = PrivateKey.generate(), PrivateKey.generate()
        controls = (*known.control[: known.control.index(own.public)], control.public)
        made = Operation("rotate", known.seq + 1, datetime.now(UTC), new.public, controls, prev=known.head)
        self.hub.operate(id, operation.sign(made, [own, new, control]))
        self.keys.append(control)


def test_a_thief_of_a_hosts_keys_is_noticed_and_evicted(place: KeysPlace) -> None:
    thief = Thief(place, ("host", "private"), ("host", "control"))
    thief.takes("host-1")
    for words in ("rotate host", "revoke host", "rotate host --control"):
        with pytest.raises(HeadError, match="SOMEBODY ELSE CHANGED THE KEYS OF host-1") as caught:
            place.do(words)
        assert "keys recover" in caught.value.hint
    assert "SOMEBODY ELSE" in place.problems()[0]
    before = fingerprints(place)
    place.do("recover host")
    after = fingerprints(place)
    assert {name for name in after if after[name] != before[name]} == {"host private", "host control"}
    assert place.problems() == []
    with pytest.raises(StopIteration):
        thief.takes("host-1")


def test_a_thief_of_all_keys_on_the_disk_is_evicted_by_the_recovery_key(place: KeysPlace) -> None:
    key = recovery(place)
    thief = Thief(place, ("user", "control"), ("host", "control"))
    thief.takes("user-1")
    thief.takes("host-1")
    with pytest.raises(HeadError):
        place.do("rotate user")
    with pytest.raises(TrustError, match="no control key"):
        place.do("recover user")  # by the control key that the thief has replaced
    before = fingerprints(place)
    place.change("recover user", drafts.recover("user", key), follow=True)
    assert place.problems() == [] and not set(before.values()) & set(fingerprints(place).values())
    for id in ("user-1", "host-1"):
        with pytest.raises(StopIteration):
            thief.takes(id)


def test_without_a_recovery_key_a_thief_of_the_control_key_cannot_be_evicted(place: KeysPlace) -> None:
    thief = Thief(place, ("user", "control"))
    thief.takes("user-1")
    with pytest.raises(TrustError, match="no control key of user-1"):
        place.do("recover user")


class Between:
    """A hub at which something happens right before an operation comes in."""

    def __init__(self, hub: HubApi, happens: Callable[[], None], times: int = 1) -> None:
        self._hub, self._happens, self._times = hub, happens, times

    def __getattr__(self, name: str) -> object:
        return getattr(self._hub, name)

    def operate(self, id: str, signed: SignedOperation) -> str:
        if self._times:
            self._times -= 1
            self._happens()
        return self._hub.operate(id, signed)


def between(hub: HubApi, happens: Callable[[], None], times: int = 1) -> HubApi:
    return cast(HubApi, Between(hub, happens, times))


def test_a_recovery_follows_a_thief_who_is_at_work(place: KeysPlace) -> None:
    thief = Thief(place, ("host", "control"))
    hub = between(place.hub, lambda: thief.takes("host-1"), 3)
    higher = place.ring().need("user", "control")
    outcome = place.change(
        "recover host",
        drafts.recover("host", higher),
        hub=hub,
        follow=True,
    )
    assert outcome.identities.host.seq == 5 and place.problems() == []
    again = Thief(place, ("host", "control"))
    busy = between(place.hub, lambda: again.takes("host-1"), 99)
    with pytest.raises(HeadError):
        place.change("recover host", drafts.recover("host", higher), hub=busy, follow=True)
    assert Journal(place.found.user.genesis).read() is None


def test_a_rotation_that_comes_too_late_changes_nothing(place: KeysPlace) -> None:
    thief = Thief(place, ("host", "control"))
    before = {path.name: path.read_bytes() for path in place.folder.iterdir()}
    with pytest.raises(HeadError, match="SOMEBODY ELSE"):
        place.change(
            "rotate host", drafts.rotate("host", control=False),
            hub=between(place.hub, lambda: thief.takes("host-1")),
        )  # fmt: skip
    assert {path.name: path.read_bytes() for path in place.folder.iterdir()} == before
    assert Journal(place.found.user.genesis).read() is None


def test_a_host_that_was_taken_meanwhile_does_not_stop_its_users_rotation(place: KeysPlace) -> None:
    thief = Thief(place, ("host", "control"))
    hub = between(place.hub, lambda: thief.takes("host-1"))
    outcome = place.change("rotate user --control", drafts.rotate("user", control=True), hub=hub)
    assert outcome.changed == ("user-1",) and "SOMEBODY ELSE" in outcome.warnings[0]
    assert place.found.user.seq == 2


class Lying:
    """A hub that answers some calls otherwise."""

    def __init__(self, hub: HubApi, **answers: object) -> None:
        self._hub, self._answers = hub, answers

    def __getattr__(self, name: str) -> object:
        if name in self._answers:
            return lambda *_: self._answers[name]
        return getattr(self._hub, name)


def lying(hub: HubApi, **answers: object) -> HubApi:
    return cast(HubApi, Lying(hub, **answers))


def test_a_hub_that_lies_is_not_believed(
    place: KeysPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.do("rotate user")
    whole = place.hub.operations("user-1")
    other = KeysPlace(tmp_path / "other", monkeypatch)
    foreign = other.hub.operations("user-1")
    older = (other.folder / "user-1.public.key").read_text()
    monkeypatch.setenv("XDG_DATA_HOME", str(place.base))
    before = {path.name: path.read_bytes() for path in place.folder.iterdir()}
    lies: list[dict[str, object]] = [{"operations": whole[:1]}, {"operations": foreign}, {"operations": []}]
    for answers in lies:
        with pytest.raises(TrustError):
            place.change("rotate user", drafts.rotate("user", control=False),
                         hub=lying(place.hub, **answers))  # fmt: skip
        assert {path.name: path.read_bytes() for path in place.folder.iterdir()} == before
    with pytest.raises(TrustError):
        place.change("rotate user", drafts.rotate("user", control=False),
                     hub=lying(place.hub, statement=older))  # fmt: skip
    # The hub took it, and lied then: an honest answer completes it.
    assert {path.name: path.read_bytes() for path in place.folder.iterdir()} == before
    assert place.do("rotate user").resumed and place.problems() == []


def test_one_change_at_a_time(place: KeysPlace) -> None:
    with Journal(place.found.user.genesis).locked(), pytest.raises(TakenError, match="another process"):
        place.do("rotate user")


def test_an_interrupted_change_of_another_kind_is_completed_first(place: KeysPlace) -> None:
    class Gone(AmpzeroError):
        pass

    def goes() -> None:
        raise Gone("gone")

    with pytest.raises(Gone):
        place.change("rotate user", drafts.rotate("user", control=False), hub=between(place.hub, goes))
    journal = Journal(place.found.user.genesis)
    assert journal.read() is not None
    assert stat.S_IMODE(journal.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((journal.folder / "change.json").stat().st_mode) == 0o600
    outcome = place.do("rotate host")
    assert outcome.completed == "rotate user" and not outcome.resumed
    assert place.seqs() == (2, 2) and place.problems() == []


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"\xff", b'{"command": 1}', b" " * (9 << 20)])
def test_a_damaged_journal(place: KeysPlace, raw: bytes) -> None:
    journal = Journal(place.found.user.genesis)
    with journal.locked():
        (journal.folder / "change.json").write_bytes(raw)
    with pytest.raises(TrustError, match="interrupted change"):
        place.do("rotate user")


def test_a_chain_on_the_disk_that_the_hub_denies(place: KeysPlace) -> None:
    path = place.found.path("user", "operations")
    path.write_text(path.read_text()[:-9] + "\n")
    with pytest.raises(TrustError, match=str(path)):
        place.do("rotate user")


def test_an_older_instance_has_no_chain_beside_its_keys(place: KeysPlace) -> None:
    for kind in ("user", "host"):
        place.found.path(kind, "operations").unlink()
    place.do("rotate user --control")
    assert place.problems() == []
