from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keys import history, keyfile
from keys.errors import PassphraseError, TrustError
from keys.hub import LocalHub
from keys.identities import HUB_FILE, Identities, create_identities, finish_pending, load_identities
from lib.errors import AmpzeroError, MissingError, TakenError
from lib.files import Lock


class Place:
    """A user's data folder with its hub, and an instance's folder."""

    def __init__(self, folder: Path) -> None:
        self.hub = LocalHub.open(folder / "data/hub")
        self.pending = folder / "data/pending/abc"
        self.folder = folder / "ampnode"
        self.folder.mkdir(exist_ok=True)

    def create(self, passphrase: str = "") -> Identities:
        return create_identities(self.folder, hub=self.hub, pending=self.pending, passphrase=passphrase)

    def empty(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_files(place: Place) -> None:
    made = place.create()
    assert (made.user_id, made.host_id, made.hub, made.encrypted) == (
        "user-1",
        "host-1",
        place.hub.name,
        False,
    )
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.folder.iterdir()}
    assert modes == {
        f"{id}.{part}.key": 0o600 if part in ("private", "control") else 0o644
        for id in ("user-1", "host-1")
        for part in ("private", "control", "public", "operations")
    } | {HUB_FILE: 0o644}
    for kind, said in (("user", made.user), ("host", made.host)):
        assert history.parse(made.path(kind, "operations").read_bytes()).state.head == said.head
    assert keyfile.load(made.path("user", "private")).public == made.user.signing
    assert keyfile.load(made.path("host", "private")).public == made.host.signing
    user_control = keyfile.load(made.path("user", "control")).public
    assert [entry.key for entry in made.user.control] == [user_control]
    host_control = keyfile.load(made.path("host", "control")).public
    assert [entry.key for entry in made.host.control] == [user_control, host_control]
    assert load_identities(place.folder) == made
    assert made.warnings == ()
    later = load_identities(place.folder, datetime.now(UTC) + timedelta(days=91))
    assert len(later.warnings) == 2
    assert "stale" in later.warnings[0]


def test_pending_is_private_kept_and_forgotten(place: Place) -> None:
    place.create()
    assert stat.S_IMODE(place.pending.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in place.pending.iterdir())
    before = {path.name: path.read_bytes() for path in place.folder.iterdir()}
    place.create()
    place.empty()
    place.create()
    assert {path.name: path.read_bytes() for path in place.folder.iterdir()} == before
    finish_pending(place.pending)
    finish_pending(place.pending)
    assert not place.pending.exists()
    place.empty()
    assert place.create().user_id == "user-2"


def test_with_a_passphrase(place: Place) -> None:
    made = place.create("correct horse")
    assert made.encrypted
    for kind in ("user", "host"):
        for part in ("private", "control"):
            with pytest.raises(PassphraseError):
                keyfile.load(made.path(kind, part), "other")
            assert keyfile.load(made.path(kind, part), "correct horse")
    assert b"ssh-ed25519" in made.path("user", "public").read_bytes()
    place.empty()
    for other in ("", "other"):
        with pytest.raises(PassphraseError, match="had another passphrase") as caught:
            place.create(other)
        assert str(place.pending) in caught.value.hint
    assert list(place.folder.iterdir()) == []
    assert place.create("correct horse").user_id == "user-1"


def test_another_passphrase_before_the_hub_heard_of_it_is_no_matter(place: Place, tmp_path: Path) -> None:
    place.create("first")
    place.empty()
    place.hub = LocalHub.open(tmp_path / "data/other")
    assert place.create("second").user_id == "user-1"
    place.empty()
    assert place.create("second").user_id == "user-1"


def test_a_passphrase_given_later_encrypts(place: Place) -> None:
    plain = place.create()
    place.empty()
    made = place.create("later")
    assert (made.user_id, made.user.genesis, made.encrypted) == ("user-1", plain.user.genesis, True)
    assert keyfile.load(made.path("host", "control"), "later")
    assert b"later" not in (place.pending / "keys.json").read_bytes()
    assert place.create("later") == made


def test_key_files_are_never_overwritten(place: Place) -> None:
    place.create()
    finish_pending(place.pending)
    before = {path.name: path.read_bytes() for path in place.folder.iterdir()}
    (place.folder / "user-2.private.key").write_bytes(b"mine")
    with pytest.raises(TakenError, match="exists"):
        place.create()
    assert (place.folder / "user-2.private.key").read_bytes() == b"mine"
    assert before.items() <= {path.name: path.read_bytes() for path in place.folder.iterdir()}.items()


def test_one_at_a_time(place: Place) -> None:
    place.pending.mkdir(mode=0o700, parents=True)
    place.pending.parent.chmod(0o700)
    lock = Lock(place.pending / "lock")
    assert lock.acquire()
    with pytest.raises(TakenError, match="another process"):
        place.create()
    lock.release()
    place.create()


@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff\xfe", b"[]", b'{"user": 1}', b" " * 100_000])
def test_a_damaged_pending_file(place: Place, raw: bytes) -> None:
    place.create()
    (place.pending / "keys.json").write_bytes(raw)
    with pytest.raises(TrustError, match="interrupted") as caught:
        place.create()
    assert "remove" in caught.value.hint


def test_a_clone_has_no_secrets(place: Place) -> None:
    made = place.create("correct horse")
    for kind in ("user", "host"):
        made.path(kind, "control").unlink()
    assert load_identities(place.folder).encrypted
    made.path("host", "private").unlink()
    assert not load_identities(place.folder).encrypted


def test_files_that_do_not_belong_together(place: Place, tmp_path: Path) -> None:
    made = place.create()
    (tmp_path / "other-place").mkdir()
    foreign = Place(tmp_path / "other-place").create()
    for kind, part in (("user", "public"), ("host", "public"), ("host", "private"), ("user", "control")):
        path = made.path(kind, part)
        mine = path.read_bytes()
        path.write_bytes(foreign.path(kind, part).read_bytes())
        with pytest.raises(TrustError):
            load_identities(place.folder)
        path.write_bytes(mine)
    made.path("host", "private").chmod(0o644)
    with pytest.raises(AmpzeroError, match="other users"):
        load_identities(place.folder)
    made.path("host", "private").chmod(0o600)
    (place.folder / "host-2.public.key").write_bytes(made.path("host", "public").read_bytes())
    with pytest.raises(MissingError, match="2 files"):
        load_identities(place.folder)
    (place.folder / "host-2.public.key").unlink()
    made.path("host", "public").rename(place.folder / "host-2.public.key")
    with pytest.raises(TrustError, match="is about host-1"):
        load_identities(place.folder)
    (place.folder / HUB_FILE).unlink()
    with pytest.raises(MissingError):
        load_identities(place.folder)


def test_while_a_key_is_replaced_the_one_that_the_statement_names_holds(place: Place) -> None:
    made = place.create()
    for kind, part in (("user", "private"), ("host", "control")):
        path = made.path(kind, part)
        before = path.with_name(f"{path.name}.previous")
        path.rename(before)
        keyfile.save(path, keyfile.PrivateKey.generate())
        found = load_identities(place.folder)
        assert found.path(kind, part) == before
        assert keyfile.load(found.path(kind, part)).public in (
            found.user.signing, found.host.control[1].key,
        )  # fmt: skip
        assert "interrupted" in found.warnings[0]
        path.unlink()
        before.rename(path)
    assert load_identities(place.folder) == made
