"""What is told to the hub, when, and what is said when that does not work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from contact_support import Clock, Dead, Party, local_hub, make_party

from keys import announcement, history
from keys.contact.announcer import FIRST_WAIT, LIFETIME, LONGEST_WAIT, Announcer, Place
from keys.errors import BusyError
from keys.hub import LocalHub
from keys.hubapi import Announced


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hub(tmp_path: Path, clock: Clock) -> LocalHub:
    return local_hub(tmp_path, clock)


@pytest.fixture
def party(tmp_path: Path, hub: LocalHub, clock: Clock) -> Party:
    return make_party(tmp_path, hub, clock, "own")


def test_address_and_pin_are_announced_and_renewed_well_before_they_expire(
    party: Party, hub: LocalHub, clock: Clock
) -> None:
    announcer = party.announcer(hub, "203.0.113.7:8043")
    waits, seqs = [], []
    for _ in range(5):
        waits.append(announcer.step())
        said, _ = announcement.parse(hub.announcement(party.id))
        seqs.append(said.seq)
        clock.pass_by(waits[-1])
    assert said.addresses == ("203.0.113.7:8043",)
    assert said.pin == party.own.pin()
    assert said.expires - said.issued == LIFETIME
    assert seqs == sorted(set(seqs))
    assert all(0 < wait <= LIFETIME.total_seconds() / 2 for wait in waits)
    assert len(set(waits)) > 1, "those who started together must part"
    assert announcer.report.state == "announced"
    assert announcer.report.pin == f"sha256//{party.own.pin()}"
    assert announcer.report.head == party.identities.host.head


def test_a_changed_tls_key_is_noticed_and_announced(party: Party, hub: LocalHub) -> None:
    announcer = party.announcer(hub)
    assert not announcer.changed()
    announcer.step()
    assert not announcer.changed()
    party.new_leaf()
    assert announcer.changed()
    announcer.step()
    assert not announcer.changed()
    assert announcement.parse(hub.announcement(party.id))[0].pin == party.own.pin()


def test_a_rotated_host_key_is_noticed_and_signs_from_then_on(
    party: Party, hub: LocalHub, tmp_path: Path
) -> None:
    announcer = party.announcer(hub)
    announcer.step()
    signing = party.operate(hub, "rotate")
    assert signing is not None and not announcer.changed(), "elsewhere: here are the files of before"
    announcer.step()
    assert announcer.report.state == "alarm"
    for part, content in (("private", signing.encode()), ("public", hub.statement(party.id).encode()),
                          ("operations", history.join(hub.operations(party.id)).encode())):  # fmt: skip
        party.identities.path("host", part).write_bytes(content)
    assert announcer.changed()
    announcer.step()
    assert announcer.report.state == "announced"
    assert not announcer.changed()
    announcement.verify(hub.announcement(party.id), signing.public, party.clock.now())


def test_a_hub_that_is_down_is_tried_again_ever_later_and_then_works(
    party: Party, hub: LocalHub, clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    announcer = party.announcer(Dead())
    waits = [announcer.step() for _ in range(12)]
    assert FIRST_WAIT * 0.8 <= waits[0] <= FIRST_WAIT * 1.2
    assert waits[-1] <= LONGEST_WAIT * 1.2
    assert waits[5] > waits[0] * 10
    assert announcer.report.state == "failing"
    assert capfd.readouterr().err.count("not announced: the hub does not answer") == 1, "once, not each time"
    announcer.hub = lambda: hub
    announcer.step()
    assert (announcer.report.state, announcer.failures) == ("announced", 0)


def test_a_head_that_is_not_ours_is_said_loudly(
    party: Party, hub: LocalHub, capfd: pytest.CaptureFixture[str]
) -> None:
    announcer = party.announcer(hub)
    announcer.step()
    assert "ALARM" not in capfd.readouterr().err
    party.operate(hub, "rotate")  # with a stolen control key, elsewhere
    announcer.step()
    assert announcer.report.state == "alarm"
    assert "somebody else changed the keys" in announcer.report.why
    assert "ALARM" in capfd.readouterr().err


def test_a_foreign_head_is_an_alarm_also_where_our_announcement_is_still_taken(
    party: Party, hub: LocalHub
) -> None:
    class Changed:
        """The hub, whose answer names another head: the signing key is ours still, a control key is not."""

        def __getattr__(self, name: str) -> object:
            return getattr(hub, name)

        def announce(self, id: str, note: str, source: str = "") -> Announced:
            answer = hub.announce(id, note, source)
            return Announced(answer.observed, None, answer.ttl, answer.reannounce_after, "x" * 43 + "=")

    announcer = party.announcer(hub)
    announcer.hub = lambda: Changed()  # type: ignore[assignment,return-value]  # hands on all else
    announcer.step()
    assert announcer.report.state == "alarm"
    announcer.hub = lambda: hub
    announcer.step()
    assert announcer.report.state == "announced", "an alarm ends when its reason does"


def test_a_lost_state_folder_and_a_clock_that_went_back(party: Party, hub: LocalHub, clock: Clock) -> None:
    party.announcer(hub).step()
    clock.pass_by(-60)
    hub_clock = clock.now()
    announcer = party.announcer(hub)
    assert announcer.seq == 0
    announcer.step()
    assert announcer.report.state == "failing"
    announcer.step()
    assert announcer.report.state == "announced"
    assert announcer.seq > hub_clock.timestamp()


def test_a_private_key_with_a_passphrase(tmp_path: Path, hub: LocalHub, clock: Clock) -> None:
    party = make_party(tmp_path, hub, clock, "locked", passphrase="six random words")
    announcer = party.announcer(hub)
    announcer.step()
    assert announcer.report.state == "off"
    assert "has a passphrase" in announcer.report.why
    assert "AMPZERO_PASSPHRASE_FILE" in announcer.report.why
    file = tmp_path / "passphrase"
    file.write_text("six random words\n")
    file.chmod(0o644)
    announcer.own = replace(party.own, passphrase_file=file)
    announcer.step()
    assert "other users can read" in announcer.report.why
    file.chmod(0o600)
    announcer.step()
    assert announcer.report.state == "announced"
    assert "six random" not in repr(announcer)


def test_nothing_is_announced_where_nobody_listens(party: Party, hub: LocalHub) -> None:
    announcer = party.announcer(hub)
    announcer.place = lambda observed: Place((), None, served="nobody listens on port 8043")
    announcer.step()
    assert (announcer.report.state, announcer.report.why) == ("failing", "nobody listens on port 8043")


def seen_as(hub: LocalHub, addresses: Callable[[], str]) -> object:
    class Seeing:
        def __getattr__(self, name: str) -> object:
            return getattr(hub, name)

        def announce(self, id: str, note: str, source: str = "") -> Announced:
            return hub.announce(id, note, addresses())

    return Seeing()


def test_where_the_hub_saw_us_is_announced_at_once_and_two_addresses_are_no_storm(
    party: Party, hub: LocalHub, clock: Clock
) -> None:
    flips = iter(range(1, 100))
    seeing = seen_as(hub, lambda: f"203.0.113.{next(flips)}")
    announcer = Announcer(
        party.own, lambda: seeing,  # type: ignore[arg-type,return-value]  # hands on all else
        lambda observed: Place((f"{observed}:8043",) if observed else (), None), now=clock.now,
    )  # fmt: skip
    waits = []
    for _ in range(6):
        waits.append(announcer.step())
        clock.pass_by(waits[-1])
    assert waits[0] < 5 and waits[1] > 10
    assert min(sum(pair) for pair in pairwise(waits)) > 10
    assert announcement.parse(hub.announcement(party.id))[0].addresses == ("203.0.113.5:8043",)


def test_a_busy_hub_is_left_alone_as_long_as_it_wants(party: Party) -> None:
    class Busy:
        def __getattr__(self, name: str) -> object:
            raise BusyError("too much to do", retry_after=100.0)

    announcer = party.announcer(Busy())  # type: ignore[arg-type]  # raises at each use
    assert announcer.step() >= 80


def test_damaged_key_files_are_said_and_no_end(party: Party, hub: LocalHub) -> None:
    announcer = party.announcer(hub)
    path = party.identities.path("host", "private")
    kept = path.read_bytes()
    path.write_text("garbage")
    path.chmod(0o600)
    assert announcer.step() < 10
    assert announcer.report.state == "failing"
    path.write_bytes(kept)
    announcer.step()
    assert announcer.report.state == "announced"


def test_an_announcement_is_for_less_than_what_hubs_take() -> None:
    assert timedelta(0) < LIFETIME <= announcement.MAX_LIFETIME
