"""A hub of format 1, as users have it from the first release, goes on: same ids and files, and a log."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from identity_support import NOW, Party

from keys import note, root, statement
from keys.errors import TrustError
from keys.hub import LocalHub
from keys.hub.making import make_local
from keys.keyfile import load
from keys.log import checkpoint, entry, merkle
from keys.log.proof import verify_inclusion
from keys.statement import Owner, Statement
from lib.errors import StorageError

FORMAT_1 = """
create table identities (
    genesis text primary key,
    kind text not null check (kind in ('user', 'host')),
    number integer not null check (number >= 1),
    owner text references identities (genesis),
    statement text not null,
    unique (kind, number)
);
create table operations (
    log_index integer primary key,
    genesis text not null,
    seq integer not null,
    note text not null,
    unique (genesis, seq)
);
pragma user_version = 1;
"""
"""To the letter what ampzero 0.1.0 wrote."""


def old_hub(folder: Path, parties: list[Party]) -> list[str]:
    """A folder as the first release left it; the statements in it."""
    folder.mkdir(mode=0o700)
    make_local(folder, NOW)
    origin, online = root.verify((folder / "root.note").read_text()).origin, load(folder / "online.key")
    numbers = {"user": 0, "host": 0}
    texts = []
    with closing(sqlite3.connect(folder / "hub.sqlite", isolation_level=None)) as database:
        (folder / "hub.sqlite").chmod(0o600)
        database.executescript(FORMAT_1)
        for index, party in enumerate(parties):
            operation = party.first.operation
            numbers[operation.kind] += 1
            id = f"{operation.kind}-{numbers[operation.kind]}"
            owner = Owner("user-1", operation.owner) if operation.owner else None
            controls = tuple(
                statement.Control(key, "user-1" if owner and not rank else id)
                for rank, key in enumerate(operation.control)
            )
            said = Statement(
                id, origin, party.genesis, party.head, 1, operation.signing, controls, owner, index, NOW,
                NOW + statement.LIFETIME,
            )  # fmt: skip
            texts.append(statement.sign(said, online))
            database.execute(
                "insert into identities values (?, ?, ?, ?, ?)",
                (party.genesis, operation.kind, numbers[operation.kind], operation.owner or None, texts[-1]),
            )
            database.execute(
                "insert into operations values (?, ?, 1, ?)", (index, party.genesis, str(party.first.note))
            )
    return texts


@pytest.mark.parametrize("hosts", [0, 1, 300])
def test_a_hub_of_format_1_goes_on(tmp_path: Path, hosts: int) -> None:
    user = Party()
    parties = [user, *(Party(user) for _ in range(hosts))]
    texts = old_hub(tmp_path / "hub", parties)
    before = {
        name: (tmp_path / "hub" / name).read_bytes() for name in ("online.key", "root.key", "root.note")
    }
    hub = LocalHub.open(tmp_path / "hub", now=lambda: NOW)
    for party, text in zip(parties, texts, strict=True):
        assert hub.register(party.first) == hub.statement(statement.parse(text)[0].id)
        again = statement.verify(hub.register(party.first), hub.root.verifier)
        assert again == statement.parse(text)[0]
    # The log has what was registered before there was one.
    now = checkpoint.verify(hub.checkpoint(), note.Verifier(hub.name, hub.root.online))
    assert now.size == hub.size == len(parties)
    ids = [statement.parse(text)[0].id for text in texts]
    leaves = [merkle.leaf(entry.encode(id, str(party.first.note)))
              for id, party in zip(ids, parties, strict=True)]  # fmt: skip
    assert now.root == merkle.fold(leaves)
    verify_inclusion(
        len(parties) - 1, now.size, leaves[-1], hub.inclusion(len(parties) - 1, now.size), now.root
    )
    # And new things work on it.
    assert statement.parse(hub.register(Party(user).first))[0].id == f"host-{hosts + 1}"
    assert statement.parse(hub.operate("user-1", user.change()))[0].index == len(parties) + 1
    assert LocalHub.open(tmp_path / "hub").size == len(parties) + 2
    for name, raw in before.items():
        assert (tmp_path / "hub" / name).read_bytes() == raw
    assert stat.S_IMODE((tmp_path / "hub/hub.sqlite").stat().st_mode) == 0o600


def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = Party()
    old_hub(tmp_path / "hub", [user, Party(user)])
    path = tmp_path / "hub/hub.sqlite"
    before = dump(path)
    with monkeypatch.context() as patch:
        patch.setattr("keys.hub.logbook.entries", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            LocalHub.open(tmp_path / "hub")
    assert dump(path) == before
    assert LocalHub.open(tmp_path / "hub").size == 2


def test_a_chain_that_was_changed_stops_the_upgrade(tmp_path: Path) -> None:
    old_hub(tmp_path / "hub", [Party()])
    path = tmp_path / "hub/hub.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("update operations set note = replace(note, 'seq: 1', 'seq: 2')")
    before = dump(path)
    with pytest.raises((TrustError, StorageError)):
        LocalHub.open(tmp_path / "hub")
    assert dump(path) == before


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [*database.iterdump(), str(database.execute("pragma user_version").fetchone())]
