from __future__ import annotations

import errno
import os
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keys import chain, operation, root, statement
from keys.datafolder import data_errors, data_folder, pending_folder, private_folder
from keys.errors import TrustError
from keys.hub import LocalHub
from keys.hub.sqlite import sqlite_errors
from keys.keyfile import PrivateKey
from keys.operation import Operation, SignedOperation
from lib.errors import AmpzeroError, MissingError, StorageError, TakenError
from lib.files import storage_errors

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def new_user() -> tuple[SignedOperation, PrivateKey, PrivateKey]:
    signing, control = PrivateKey.generate(), PrivateKey.generate()
    first = Operation(
        action="register", kind="user", seq=1, time=NOW, signing=signing.public, control=(control.public,)
    )
    return operation.sign(first, [signing, control]), signing, control


def new_host(owner: str, owner_signing: PrivateKey | None, owner_control: PrivateKey) -> SignedOperation:
    signing, control = PrivateKey.generate(), PrivateKey.generate()
    first = Operation(
        action="register",
        kind="host",
        owner=owner,
        seq=1,
        time=NOW,
        signing=signing.public,
        control=(owner_control.public, control.public),
    )
    return operation.sign(first, [signing, owner_control, control], owner=owner_signing)


def test_a_user_and_its_hosts(tmp_path: Path) -> None:
    hub = LocalHub.open(tmp_path / "data/hub", now=lambda: NOW)
    user, signing, control = new_user()
    said = statement.verify(hub.register(user), hub.root.verifier)
    assert (said.id, said.index, said.seq, said.owner) == ("user-1", 0, 1, None)
    assert (said.issued, said.expires) == (NOW, NOW + timedelta(days=90))
    assert said.genesis == said.head == user.operation.digest
    for number in (1, 2):
        host = new_host(said.genesis, signing, control)
        about = statement.verify(hub.register(host), hub.root.verifier)
        assert (about.id, about.index) == (f"host-{number}", number)
        assert about.owner == statement.Owner("user-1", said.genesis)
        assert [entry.holder for entry in about.control] == ["user-1", f"host-{number}"]
    assert statement.parse(hub.register(new_user()[0]))[0].id == "user-2"
    assert chain.verify(map(operation.parse, hub.operations("user-1"))).genesis == said.genesis


def test_registering_again_gives_the_same_to_the_letter(tmp_path: Path) -> None:
    clock = [NOW]
    hub = LocalHub.open(tmp_path / "hub", now=lambda: clock[0])
    user, _, _ = new_user()
    assert not hub.knows(user.operation.digest)
    first = hub.register(user)
    clock[0] += timedelta(days=1)
    assert hub.knows(user.operation.digest)
    assert LocalHub.open(tmp_path / "hub").register(operation.parse(str(user.note))) == first
    renewed = statement.verify(hub.renew("user-1"), hub.root.verifier)
    assert renewed.issued == clock[0]
    assert renewed.genesis == user.operation.digest


def test_what_is_not_registered(tmp_path: Path) -> None:
    hub = LocalHub.open(tmp_path / "hub")
    user, signing, control = new_user()
    with pytest.raises(MissingError, match="owner is not registered"):
        hub.register(new_host(user.operation.digest, signing, control))
    hub.register(user)
    with pytest.raises(TrustError, match="not signed by ampzero/owner"):
        hub.register(new_host(user.operation.digest, None, control))
    with pytest.raises(TrustError, match="highest control key"):
        hub.register(new_host(user.operation.digest, signing, PrivateKey.generate()))
    with pytest.raises(TrustError):
        hub.register(operation.sign(new_user()[0].operation, [signing]))
    good = new_host(user.operation.digest, signing, control)
    assert statement.parse(hub.register(good))[0].id == "host-1"
    assert statement.parse(hub.renew("host-1"))[0].owner == statement.Owner("user-1", user.operation.digest)


@pytest.mark.parametrize(
    "id", ["user-9", "user-", "user", "", "user--1", "robot-1", "user-²", "user-" + "9" * 40]
)
def test_unknown_ids(tmp_path: Path, id: str) -> None:
    hub = LocalHub.open(tmp_path / "hub")
    for ask in (hub.renew, hub.operations):
        with pytest.raises(MissingError, match="knows no"):
            ask(id)


def test_the_folder_is_private_and_the_hub_keeps_its_name(tmp_path: Path) -> None:
    hub = LocalHub.open(tmp_path / "a/b/hub")
    assert stat.S_IMODE((tmp_path / "a/b/hub").stat().st_mode) == 0o700
    names = sorted(path.name for path in (tmp_path / "a/b/hub").iterdir())
    assert names == ["hub.sqlite", "online.key", "root.key", "root.note"]
    for path in (tmp_path / "a/b/hub").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = LocalHub.open(tmp_path / "a/b/hub")
    assert again.root_note == hub.root_note
    assert again.name == hub.name
    assert hub.name.startswith("local.")
    assert len(hub.name) == 22
    assert root.verify(hub.root_note) == hub.root
    (tmp_path / "a/b/hub").chmod(0o755)
    with pytest.raises(AmpzeroError, match="other users can enter") as caught:
        LocalHub.open(tmp_path / "a/b/hub")
    assert caught.value.hint == f"chmod 700 {tmp_path}/a/b/hub"


def test_a_killed_first_open_is_completed(tmp_path: Path) -> None:
    hub = LocalHub.open(tmp_path / "hub")
    for left in (["root.note", "hub.sqlite"], ["hub.sqlite"]):
        for name in left:
            (tmp_path / "hub" / name).unlink()
        again = LocalHub.open(tmp_path / "hub")
        assert again.name == hub.name
        again.register(new_user()[0])
    (tmp_path / "hub/online.key").unlink()
    with pytest.raises(TrustError, match="do not belong together"):
        LocalHub.open(tmp_path / "hub")


def test_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert data_folder() == tmp_path / "xdg/ampzero"
    one, other = pending_folder(tmp_path / "kickass"), pending_folder(tmp_path / "other")
    assert one.parent == other.parent == tmp_path / "xdg/ampzero/pending"
    assert one == pending_folder(tmp_path / "kickass") != other
    for none in ("", "relative/path"):
        monkeypatch.setenv("XDG_DATA_HOME", none)
        assert data_folder() == tmp_path / ".local/share/ampzero"
    LocalHub.open()
    assert (tmp_path / ".local/share/ampzero/hub/hub.sqlite").exists()
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        private_folder(tmp_path / "file/below")
    with pytest.raises(StorageError):
        private_folder(tmp_path / "file")


def test_a_damaged_database(tmp_path: Path) -> None:
    hub = LocalHub.open(tmp_path / "hub")
    hub.register(new_user()[0])
    path = tmp_path / "hub/hub.sqlite"
    whole = path.read_bytes()
    for raw in (b"not a database" * 1000, whole[:4096] + os.urandom(len(whole) - 4096), whole[:5000]):
        path.write_bytes(raw)
        with pytest.raises(StorageError, match="damaged"):
            LocalHub.open(tmp_path / "hub").register(new_user()[0])
    path.write_bytes(whole)
    with closing(sqlite3.connect(path)) as database:
        database.execute("pragma user_version = 9")
    with pytest.raises(AmpzeroError, match="has the format 9"):
        LocalHub.open(tmp_path / "hub")


def test_what_sqlite_says_is_translated(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as one:
        one.execute("create table t (v)")
        one.execute("begin exclusive")
        with (
            closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as two,
            pytest.raises(TakenError),
            sqlite_errors(path),
        ):
            two.execute("begin immediate")
        one.execute("commit")
        one.execute("pragma max_page_count = 3")
        with pytest.raises(StorageError, match="no space"), sqlite_errors(path):
            one.execute("insert into t values (zeroblob(100000))")
        one.execute("pragma query_only = on")
        with pytest.raises(StorageError, match="cannot write"), sqlite_errors(path):
            one.execute("insert into t values (1)")
        with pytest.raises(StorageError), sqlite_errors(path):
            one.execute("select nothing")
    with pytest.raises(StorageError, match="cannot write"), sqlite_errors(path):
        sqlite3.connect(tmp_path / "none/x.sqlite")


def test_hints_speak_of_the_data_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as caught:
        LocalHub.open(tmp_path / "file/hub")
    assert "amprun_root_directory" not in caught.value.hint
    with pytest.raises(StorageError) as caught, data_errors(tmp_path), storage_errors(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "no space left" in caught.value.message
    assert "XDG_DATA_HOME" in caught.value.hint
