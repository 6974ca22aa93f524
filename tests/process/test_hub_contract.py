"""What every hub does, on each of its databases: one suite for the local hub, SQLite and PostgreSQL."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from identity_support import NOW, Party
from postgres_support import new_database, postgres_server

from keys import chain, note, operation, statement
from keys.errors import HeadError, HistoryError, QuotaError, TrustError
from keys.hub import Hub, LocalHub
from keys.hub.making import make
from keys.hub.quotas import Options
from keys.hubapi import HubApi
from keys.keyfile import PrivateKey
from keys.log import checkpoint, entry, merkle, tile
from keys.log.proof import verify_consistency, verify_inclusion
from keys.log.tile import ENTRIES, Tile
from keys.log.tree import Tree
from keys.statement import Statement
from lib.errors import MissingError, RefusedError, TakenError

KINDS = ("local", "sqlite", "postgres")


@dataclass
class Place:
    """Where one test's hub is; `open` opens it, again too."""

    folder: Path
    database: str = ""
    is_local: bool = False
    clock: list[datetime] = field(default_factory=lambda: [NOW])
    hubs: list[Hub] = field(default_factory=list)

    def open(self, options: Options | None = None) -> Hub:
        if self.is_local:
            hub: Hub = LocalHub.open(self.folder, now=lambda: self.clock[0])
            hub.options = options or hub.options
        else:
            hub = Hub.open(self.folder, database=self.database, options=options, now=lambda: self.clock[0])
        self.hubs.append(hub)
        return hub

    def later(self, **delta: float) -> datetime:
        self.clock[0] += timedelta(**delta)
        return self.clock[0]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "hub", is_local=request.param == "local")
    if request.param == "postgres":
        place.database = new_database(request.getfixturevalue("server"), f"hub_{uuid.uuid4().hex}")
    if not place.is_local:
        make(place.folder, "hub.example", "https://hub.example", NOW)
    yield place
    for hub in place.hubs:
        hub.close()


def said(hub: Hub, text: str) -> Statement:
    return statement.verify(text, hub.root.verifier)


def registered(hub: Hub) -> tuple[Party, str, Party, str]:
    user = Party()
    user_id = said(hub, hub.register(user.first)).id
    host = Party(user)
    return user, user_id, host, said(hub, hub.register(host.first)).id


def test_it_is_a_hub(place: Place) -> None:
    api: HubApi = place.open()
    assert api.name == api.root.origin
    assert api.root_note


def test_ids_are_given_in_turn_and_the_same_again(place: Place) -> None:
    hub = place.open()
    user, user_id, host, host_id = registered(hub)
    assert (user_id, host_id) == ("user-1", "host-1")
    other = said(hub, hub.register(Party().first))
    assert (other.id, other.index) == ("user-2", 2)
    first = hub.register(user.first)
    place.later(days=1)
    assert place.open().register(operation.parse(str(user.first.note))) == first
    about = said(hub, hub.register(host.first))
    assert about.owner == statement.Owner("user-1", user.genesis)
    assert [control.holder for control in about.control] == ["user-1", "host-1"]
    assert hub.knows(user.genesis)
    assert not hub.knows(Party().genesis)
    assert (hub.size, hub.counts()) == (3, {"users": 2, "hosts": 1, "announced": 0})


def test_a_statement_is_renewed_at_half_its_life(place: Place) -> None:
    hub = place.open()
    _, id, _, _ = registered(hub)
    first = hub.statement(id)
    place.later(days=44)
    assert hub.statement(id) == first
    now = place.later(days=2)
    renewed = said(hub, hub.statement(id))
    assert (renewed.issued, renewed.expires) == (now, now + timedelta(days=90))
    assert renewed.head == said(hub, first).head
    assert place.open().statement(id) == hub.statement(id)


def test_operations_follow_the_newest_one(place: Place) -> None:
    hub = place.open()
    user, id, host, host_id = registered(hub)
    loser = user.next()
    winner = user.change()
    after = said(hub, hub.operate(id, winner))
    assert (after.seq, after.head, after.index, after.signing) == (2, user.head, 2, user.signing.public)
    assert hub.operate(id, winner) == hub.statement(id)  # sent again: the answer was lost
    with pytest.raises(HeadError) as caught:
        hub.operate(id, loser)
    assert caught.value.head == user.head
    with pytest.raises(TrustError):
        hub.operate(id, operation.sign(user.next().operation, [PrivateKey.generate()]))
    with pytest.raises(MissingError):
        hub.operate("user-9", user.next())
    assert said(hub, hub.operate(id, user.change("revoke"))).signing is None
    assert said(hub, hub.operate(id, user.change("recover"))).signing == user.signing.public
    found = chain.verify(operation.parse(text) for text in place.open().operations(id))
    assert (found.head, found.seq, found.genesis) == (user.head, 4, user.genesis)
    assert said(hub, hub.operate(host_id, host.change())).owner == statement.Owner(id, user.genesis)
    assert hub.size == 6


def test_the_owner_holds_the_control_key_that_it_had_when_it_took_the_host(place: Place) -> None:
    hub = place.open()
    user, id, _, host_id = registered(hub)
    hub.operate(id, user.change(control=PrivateKey.generate()))
    assert [control.holder for control in said(hub, hub.renew(host_id)).control] == [id, host_id]


def test_a_whole_chain_comes_from_another_hub(place: Place, tmp_path: Path) -> None:
    hub = place.open()
    hub.register(Party().first)
    user = Party()
    host = Party(user)
    user.change()
    user.change(control=PrivateKey.generate())
    about = said(hub, hub.adopt(user.operations))
    assert (about.id, about.seq, about.genesis, about.head) == ("user-2", 3, user.genesis, user.head)
    assert hub.adopt(user.operations) == hub.statement("user-2")
    assert hub.register(user.first) == hub.statement("user-2")
    user.change()
    assert said(hub, hub.adopt(user.operations)).seq == 4
    assert said(hub, hub.adopt(user.operations[:2])).seq == 4
    fork = Party(signing=user.signing)
    fork.operations, fork.control = [user.first], user.control
    with pytest.raises((HeadError, TrustError)):
        hub.adopt([user.first, fork.next()])
    # Taken with keys that were replaced since: only with a control key of now is it the owner's host.
    with pytest.raises(TrustError):
        hub.adopt(host.operations)
    with pytest.raises(MissingError):
        hub.adopt(Party(Party()).operations)
    with pytest.raises(TrustError):
        hub.adopt([])
    with pytest.raises(TrustError):
        hub.adopt(user.operations[1:])
    assert hub.size == 1 + 4


def test_a_fork_of_a_known_chain_is_refused(place: Place) -> None:
    hub = place.open()
    user = Party()
    other = user.next()
    user.change()
    hub.adopt(user.operations)
    with pytest.raises(HeadError) as caught:
        hub.adopt([user.first, other])
    assert caught.value.head == user.head


def test_a_host_moves_although_its_owner_changed_keys(place: Place) -> None:
    hub = place.open()
    user = Party()
    host = Party(user)
    user.change()
    hub.adopt(user.operations)
    assert said(hub, hub.adopt(host.operations)).owner == statement.Owner("user-1", user.genesis)


def test_announcements(place: Place) -> None:
    hub = place.open()
    user, user_id, host, id = registered(hub)
    with pytest.raises(MissingError, match="not announced"):
        hub.announcement(id)
    first = host.announcement(id, 5)
    told = hub.announce(id, first, "198.51.100.9")
    assert (told.observed, told.reachable, told.head) == ("198.51.100.9", None, host.head)
    assert (told.ttl, told.reannounce_after) == (1800, 900)
    assert place.open().announcement(id) == first
    assert hub.announce(id, first) == hub.announce(id, first)  # the same again: an answer was lost
    for seq in (4, 5):
        other = host.announcement(id, seq, addresses=())
        with pytest.raises(HeadError) as caught:
            hub.announce(id, other)
        assert caught.value.head == host.head
    second = host.announcement(id, 10**17)
    hub.announce(id, second)
    assert hub.announcement(id) == second
    assert hub.counts()["announced"] == 1
    thief = Party(user)
    for wrong in (thief.announcement(id, 10**17 + 1), second.replace("host-1", "host-2"), "", "x\n\n— y z\n"):
        with pytest.raises((TrustError, MissingError)):
            hub.announce(id, wrong)
    with pytest.raises(MissingError):
        hub.announce("host-9", host.announcement("host-9", 1))
    with pytest.raises(TrustError):
        hub.announce("host-2", second)
    with pytest.raises((TrustError, MissingError)):
        hub.announcement(user_id)
    for shift in (timedelta(minutes=6), timedelta(hours=-2)):
        with pytest.raises(TrustError):
            hub.announce(id, host.announcement(id, 10**17 + 1, NOW + shift))
    with pytest.raises(TrustError):
        hub.announce(id, host.announcement(id, 10**17 + 1, life=timedelta(hours=2)))
    place.later(minutes=30)
    with pytest.raises(MissingError, match="last heard"):
        hub.announcement(id)
    with pytest.raises(HeadError):
        hub.announce(id, host.announcement(id, 6, place.clock[0]))


def test_the_announcement_of_a_replaced_key_is_gone(place: Place) -> None:
    hub = place.open()
    _, _, host, id = registered(hub)
    old = host.announcement(id, 7)
    hub.announce(id, old)
    hub.operate(id, host.change())
    with pytest.raises(MissingError):
        hub.announcement(id)
    with pytest.raises(TrustError):
        hub.announce(id, old)
    with pytest.raises(HeadError):
        hub.announce(id, host.announcement(id, 7))
    told = hub.announce(id, host.announcement(id, 8))
    assert told.head == host.head
    hub.operate(id, host.change("revoke"))
    with pytest.raises(RefusedError, match="revoked"):
        hub.announce(id, host.announcement(id, 9))


def test_of_two_who_announce_at_once_the_higher_seq_stays(place: Place) -> None:
    hub = place.open()
    _, _, host, id = registered(hub)
    notes = [host.announcement(id, seq) for seq in range(1, 41)]

    def announce(text: str) -> None:
        with suppress(HeadError):
            hub.announce(id, text)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(announce, notes[::-1] + notes))
    assert hub.announcement(id) == notes[-1]


def test_the_log_has_every_operation_and_proves_it(place: Place) -> None:
    hub = place.open()
    empty = checkpoint.verify(hub.checkpoint(), note.Verifier(hub.name, hub.root.online))
    assert (empty.size, empty.root) == (0, merkle.EMPTY)
    user, id, host, host_id = registered(hub)
    seen = checkpoint.parse(hub.checkpoint())[0]
    hub.operate(host_id, host.change())
    now = checkpoint.verify(hub.checkpoint(), note.Verifier(hub.name, hub.root.online))
    assert (seen.size, now.size) == (2, 3)
    verify_consistency(2, seen.root, 3, now.root, hub.consistency(2, 3))
    about = said(hub, hub.statement(host_id))
    leaf = merkle.leaf(entry.encode(host_id, hub.operations(host_id)[-1]))
    verify_inclusion(about.index, 3, leaf, hub.inclusion(about.index, 3), now.root)
    raw = tile.unbundle(Tile(ENTRIES, 0, 3), hub.tile(Tile(ENTRIES, 0, 3)))
    assert [entry.decode(each) for each in raw] == [
        (id, str(user.first.note)), (host_id, str(host.first.note)), (host_id, str(host.operations[1].note)),
    ]  # fmt: skip
    assert tile.hashes(Tile(0, 0, 3), hub.tile(Tile(0, 0, 3))) == [merkle.leaf(each) for each in raw]
    assert place.open().checkpoint() == hub.checkpoint()
    for wrong in (Tile(0, 0, 4), Tile(0, 0), Tile(1, 0, 1), Tile(ENTRIES, 1, 1), Tile(63, 0, 1)):
        with pytest.raises(TrustError):
            hub.tile(wrong)
    for ask, one, two in ((hub.inclusion, 0, 4), (hub.inclusion, 3, 3), (hub.consistency, 3, 2)):
        with pytest.raises(TrustError):
            ask(one, two)


def test_a_log_of_more_than_one_tile(place: Place) -> None:
    hub = place.open()
    for _ in range(2):
        user = Party()
        hub.register(user.first)
        for _ in range(129):
            user.change()
        hub.adopt(user.operations)
    assert hub.size == 260
    full = tile.unbundle(Tile(ENTRIES, 0), hub.tile(Tile(ENTRIES, 0)))
    rest = tile.unbundle(Tile(ENTRIES, 1, 4), hub.tile(Tile(ENTRIES, 1, 4)))
    leaves = [merkle.leaf(each) for each in full + rest]
    now = checkpoint.parse(hub.checkpoint())[0]
    assert now.root == merkle.fold(leaves)
    # Whoever only has the tiles comes to the same root, and to the same proofs.
    tree = Tree(260, lambda one: tile.hashes(one, hub.tile(one)))
    assert tree.root() == now.root
    for index in (0, 255, 256, 259):
        assert tree.inclusion(index) == hub.inclusion(index, 260)
        verify_inclusion(index, 260, leaves[index], hub.inclusion(index, 260), now.root)
    verify_inclusion(0, 257, leaves[0], hub.inclusion(0, 257), merkle.fold(leaves[:257]))
    for old in (1, 255, 256, 257):
        verify_consistency(old, merkle.fold(leaves[:old]), 260, now.root, hub.consistency(old, 260))


def test_invites(place: Place) -> None:
    hub = place.open(Options(invites=True))
    user, late = Party(), Party()
    with pytest.raises(RefusedError, match="asks for an invite"):
        hub.register(user.first)
    token = hub.invite()
    with pytest.raises(RefusedError, match="not known"):
        hub.register(user.first, token + "x")
    text = hub.register(user.first, token)
    assert hub.register(user.first) == text
    assert hub.register(user.first, token) == text
    with pytest.raises(RefusedError, match="was used"):
        hub.register(late.first, token)
    hub.register(Party(user).first)  # its owner has come with one
    old = hub.invite(timedelta(days=1))
    place.later(days=1, seconds=1)
    with pytest.raises(RefusedError, match="expired"):
        hub.register(late.first, old)
    broken = operation.sign(late.first.operation, [late.signing])
    token = hub.invite()
    with pytest.raises(TrustError):
        hub.register(broken, token)
    assert said(hub, hub.register(late.first, token)).id == "user-2"  # what failed used nothing up
    with hub.database.reading() as work:
        assert not [row for row in work.all("select * from invites") if token in map(str, row)]


def test_one_invite_lets_one_of_many_in(place: Place) -> None:
    hub = place.open(Options(invites=True))
    token = hub.invite()

    def register(party: Party) -> str:
        try:
            return said(hub, hub.register(party.first, token)).id
        except RefusedError:
            return ""

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(register, [Party() for _ in range(16)]))
    assert sorted(filter(None, ids)) == ["user-1"]
    assert hub.size == 1


def test_quotas(place: Place) -> None:
    hub = place.open(Options(hosts=2, registrations=4, operations=3))
    user = Party()
    sources = ["203.0.113.1", "203.0.113.200", "::ffff:203.0.113.7", "203.0.113.1"]
    hub.register(user.first, source=sources[0])
    for source in sources[1:3]:
        hub.register(Party(user).first, source=source)
    with pytest.raises(QuotaError, match="2 hosts") as caught:
        hub.register(Party(user).first, source="2001:db8::1")
    assert caught.value.retry_after == 0
    hub.register(Party().first, source=sources[3])
    with pytest.raises(QuotaError, match="registrations") as caught:
        hub.register(Party().first, source="203.0.113.9")
    assert 0 < caught.value.retry_after <= 86400
    hub.register(user.first, source="203.0.113.9")
    hub.register(Party().first, source="2001:db8:1::1")
    hub.register(Party().first)
    place.later(days=1)
    newest = said(hub, hub.register(Party().first, source="203.0.113.9"))
    assert newest.id == "user-5"  # nothing that was refused has burnt an id
    for _ in range(2):
        hub.operate("user-1", user.change())
    with pytest.raises(QuotaError, match="3 operations"):
        hub.operate("user-1", user.next())


def test_many_register_at_once(place: Place) -> None:
    """1,000 registrations of 500 users, each by two threads at once: every id once, none left out. (Fewer
    where each waits for a process or a file to be opened.)"""
    hub = place.open()
    count = 100 if place.is_local or place.database else 500
    parties = [Party() for _ in range(count)]
    given: dict[str, set[str]] = {party.genesis: set() for party in parties}
    lock = threading.Lock()

    def register(party: Party) -> None:
        id = said(hub, hub.register(party.first)).id
        with lock:
            given[party.genesis].add(id)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(register, [party for party in parties for _ in range(2)]))
    assert sorted(len(ids) for ids in given.values()) == [1] * count
    assert {id for ids in given.values() for id in ids} == {f"user-{number + 1}" for number in range(count)}
    assert hub.size == count
    indexes = {said(hub, hub.statement(f"user-{number + 1}")).index for number in range(count)}
    assert indexes == set(range(count))


def test_a_failure_between_two_steps_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = place.open()
    registered(hub)
    before = hub.checkpoint()
    user = Party()
    for step in ("registry.next_number", "registry.add", "logbook.append", "registry.index_of",
                 "registry.update"):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(f"keys.hub.{step}", fails)
            with pytest.raises(ZeroDivisionError):
                hub.register(user.first)
        assert not hub.knows(user.genesis)
        assert hub.checkpoint() == before
    assert said(hub, hub.register(user.first)).id == "user-2"
    for step in ("logbook.append", "announcements.withdraw", "registry.update"):
        with monkeypatch.context() as patch:
            patch.setattr(f"keys.hub.{step}", fails)
            with pytest.raises(ZeroDivisionError):
                hub.operate("user-2", user.next())
        assert len(hub.operations("user-2")) == 1
        assert hub.size == 3
    assert said(hub, hub.operate("user-2", user.change())).index == 3


def fails(*_: object) -> object:
    raise ZeroDivisionError


def test_a_database_that_went_back_is_refused(place: Place) -> None:
    hub = place.open()
    registered(hub)
    hub.checkpoint()
    with hub.database.writing() as work:
        work.run("delete from log_hashes where number = 1")
    with pytest.raises(HistoryError, match="has only 1"):
        place.open()
    with hub.database.writing() as work:
        work.run("insert into log_hashes (level, number, hash) values (0, 1, ?)", b"x" * 32)
    with pytest.raises(HistoryError, match="has others"):
        place.open()


def test_a_chain_that_was_changed_in_the_database_is_not_stated(place: Place) -> None:
    hub = place.open()
    _, id, _, host_id = registered(hub)
    forged = Party()
    with hub.database.writing() as work:
        work.run("update operations set note = ? where seq = 1 and log_index = 0", str(forged.first.note))
    with pytest.raises(TrustError):
        hub.renew(id)
    with pytest.raises(TrustError):
        hub.renew(host_id)


@pytest.mark.parametrize(
    "id", ["user-9", "user-", "", "user--1", "robot-1", "user-²", "user-" + "9" * 40, "x" * 99]
)
def test_unknown_ids(place: Place, id: str) -> None:
    hub = place.open()
    asks: list[Callable[[str], object]] = [hub.statement, hub.renew, hub.operations, hub.announcement]
    for ask in asks:
        with pytest.raises(MissingError, match="knows no"):
            ask(id)


def test_a_hub_is_made_once(tmp_path: Path) -> None:
    text = make(tmp_path / "hub", "hub.example:8443", "https://hub.example:8443", NOW)
    assert Hub.open(tmp_path / "hub").root_note == text
    with pytest.raises(TakenError):
        make(tmp_path / "hub", "hub.example", "https://hub.example", NOW)
    with pytest.raises(MissingError):
        Hub.open(tmp_path / "none")
    for origin, url in (("Hub", "https://x"), ("hub.example", "ftp://x"), ("a b", "none")):
        with pytest.raises(TrustError):
            make(tmp_path / "other", origin, url, NOW)
