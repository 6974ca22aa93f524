"""From an id to who that is: at a real local hub, with a clock, a hub that is down, and one that lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from contact_support import Clock, Dead, Party, local_hub, make_party

from keys.contact import resolver
from keys.contact.remembered import Remembered
from keys.contact.resolver import BURST, FRESH, RETRY, Resolver
from keys.errors import BusyError, TrustError
from keys.hub import LocalHub
from keys.hubapi import HubApi
from lib.errors import AmpzeroError, MissingError, RefusedError, UnreachableError


@dataclass
class Scene:
    """A hub, an instance that may announce, and whoever looks it up."""

    folder: Path
    clock: Clock
    real: LocalHub
    other: Party
    hub: HubApi | Dead

    def resolver(self) -> Resolver:
        return Resolver(lambda: self.hub, now=self.clock.now, clock=self.clock.monotonic)  # type: ignore[arg-type,return-value]  # Dead raises at each use


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    clock = Clock()
    hub = local_hub(tmp_path, clock)
    return Scene(tmp_path, clock, hub, make_party(tmp_path, hub, clock, "other"), hub)


def announced(scene: Scene, *addresses: str) -> None:
    announcer = scene.other.announcer(scene.real, *addresses)
    announcer.seq = int(scene.clock.now().timestamp()) + 10  # rises, whatever came before
    announcer.step()
    assert announcer.report.state == "announced", announcer.report


def test_who_and_where(scene: Scene) -> None:
    announced(scene, "203.0.113.7:8043")
    found = scene.resolver().peer(scene.other.id)
    host = scene.other.identities.host
    assert (found.who.id, found.who.genesis) == (scene.other.id, host.genesis)
    assert host.owner is not None
    assert (found.who.owner, found.who.owner_genesis) == (host.owner.id, host.owner.genesis)
    assert found.said.addresses == ("203.0.113.7:8043",)
    assert found.said.pin == scene.other.own.pin()


def test_an_unknown_id_and_one_that_announces_nothing(scene: Scene) -> None:
    look = scene.resolver()
    for id in ("host-9", scene.other.id):
        with pytest.raises(MissingError):
            look.peer(id)
    announced(scene)
    with pytest.raises(MissingError):  # asked a moment ago
        look.peer(scene.other.id)
    scene.clock.pass_by(RETRY + 1)
    assert look.peer(scene.other.id)


def test_an_expired_announcement_is_none(scene: Scene) -> None:
    announced(scene)
    look = scene.resolver()
    assert look.peer(scene.other.id)
    scene.clock.pass_by(1801)
    with pytest.raises(MissingError):
        look.peer(scene.other.id)


def test_an_expired_announcement_is_none_either_while_the_hub_is_down(scene: Scene) -> None:
    announced(scene)
    look = scene.resolver()
    assert look.peer(scene.other.id)
    scene.hub = Dead(scene.real)
    scene.clock.pass_by(1700)
    assert look.peer(scene.other.id)
    assert scene.resolver().peer(scene.other.id) == look.peer(scene.other.id)  # after a restart, from files
    scene.clock.pass_by(500)
    with pytest.raises((TrustError, UnreachableError)):
        look.peer(scene.other.id)
    with pytest.raises(UnreachableError):
        scene.resolver().peer(scene.other.id)


def test_revoked_keys_are_refused_when_what_is_known_is_a_minute_old(scene: Scene) -> None:
    announced(scene)
    look = scene.resolver()
    assert look.peer(scene.other.id)
    scene.other.operate(scene.real, "revoke")
    assert look.peer(scene.other.id)
    scene.clock.pass_by(FRESH + 1)
    with pytest.raises(RefusedError, match="revoked"):
        look.peer(scene.other.id)
    with pytest.raises(RefusedError, match="revoked"):
        scene.resolver().peer(scene.other.id)


def test_a_rotated_key_speaks_for_the_host_and_the_one_before_no_more(scene: Scene) -> None:
    announced(scene)
    assert scene.resolver().peer(scene.other.id)
    scene.other.operate(scene.real, "rotate")
    with pytest.raises((TrustError, MissingError)):  # the announcement is of the key before
        scene.resolver().peer(scene.other.id)


def test_a_hub_that_is_asked_in_vain_is_asked_again_soon(scene: Scene) -> None:
    scene.hub = Dead()
    look = scene.resolver()
    with pytest.raises(UnreachableError):
        look.peer(scene.other.id)
    announced(scene)
    scene.hub = scene.real
    scene.clock.pass_by(RETRY + 1)
    assert look.peer(scene.other.id)


def test_somebody_else_under_a_known_id_is_refused(scene: Scene) -> None:
    announced(scene)
    assert scene.resolver().peer(scene.other.id)
    theirs = Path(scene.folder / "elsewhere")
    other_hub = local_hub(theirs, scene.clock)
    impostor = make_party(theirs, other_hub, scene.clock, "other")
    assert impostor.id == scene.other.id
    impostor.announcer(other_hub).step()
    remembered = Remembered.of_hub(scene.real.name)
    for path in remembered.folder.iterdir():
        target = Remembered.of_hub(other_hub.name).folder / path.name
        target.write_bytes(path.read_bytes())
    scene.hub = other_hub
    with pytest.raises(TrustError, match="somebody else than before"):
        scene.resolver().peer(scene.other.id)


def test_a_history_that_was_rewritten_or_rolled_back_is_refused(scene: Scene) -> None:
    announced(scene)
    before = scene.real.operations(scene.other.id)
    scene.other.operate(scene.real, "rotate")
    after = scene.real.operations(scene.other.id)
    remembered = Remembered.of_hub(scene.real.name)
    from keys import history

    remembered.keep_chain("host-5", history.verified(after))
    with pytest.raises(TrustError, match="another history"):
        remembered.keep_chain("host-5", history.verified(before))


def test_an_older_announcement_than_the_one_that_was_seen_is_refused(scene: Scene) -> None:
    from keys import announcement

    remembered = Remembered.of_hub(scene.real.name)
    new, old = scene.other.note(20), scene.other.note(19)
    remembered.keep_announcement(new, announcement.parse(new)[0])
    with pytest.raises(TrustError, match="older announcement"):
        remembered.keep_announcement(old, announcement.parse(old)[0])
    assert remembered.announced(scene.other.id) == new


def test_a_flood_of_unknown_callers_does_not_become_a_flood_at_the_hub(scene: Scene) -> None:
    look = scene.resolver()
    problems: list[type[AmpzeroError]] = []
    for number in range(int(BURST) + 20):
        try:
            look.peer(f"host-{number + 100}")
        except AmpzeroError as error:
            problems.append(type(error))
    assert problems.count(MissingError) == BURST
    assert problems.count(BusyError) == 20
    scene.clock.pass_by(10)
    announced(scene)
    assert look.peer(scene.other.id)


def test_memory_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "MOST", 10)
    look = scene.resolver()
    for number in range(30):
        with pytest.raises(MissingError):
            look.peer(f"host-{number + 100}")
    assert len(look._found) == 10
    assert look._asking == {}


def test_what_is_remembered_is_the_users_alone(scene: Scene) -> None:
    announced(scene)
    scene.resolver().peer(scene.other.id)
    folder = Remembered.of_hub(scene.real.name).folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
