"""Helpers of the contact process's tests: identities at a hub of the test's own, TLS files, a clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import msgspec

from keys import announcement, history, keyfile, operation
from keys.announcement import Announcement
from keys.contact.announcer import Announcer, Place
from keys.contact.own import Own
from keys.hub import LocalHub
from keys.hubapi import HubApi
from keys.identities import Identities, create_identities, finish_pending
from keys.keyfile import PrivateKey
from keys.operation import Operation
from keys.tls import certifying
from keys.tls.authority import Authority
from lib.errors import UnreachableError


@dataclass
class Clock:
    """The time of a test: UTC, and seconds beside it."""

    moment: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    seconds: float = 1000.0

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.seconds

    def pass_by(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        self.seconds += seconds


@dataclass
class Party:
    """One instance: its key files in `own.folder`, its TLS files below `own.state`."""

    own: Own
    identities: Identities
    clock: Clock

    @property
    def id(self) -> str:
        return self.identities.host_id

    def new_leaf(self) -> None:
        """Another TLS key, noted as a run of the instance notes it."""
        folder = self.own.state / "tls"
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = folder / "server.cert", folder / "server.key"
        Authority.open().issue(certificate, key, ["localhost"], ["127.0.0.1"])
        record = certifying.Record(
            settings="", certificate=str(certificate), key=str(key), leaf=str(certificate),
            leaf_key=str(key), states={}, source="local", names=[], expires=0, due=0,
        )  # fmt: skip
        (folder / certifying.RECORD).write_bytes(msgspec.json.encode(record))

    def escaped(self) -> str:
        """Its certificate as nginx hands it over."""
        return quote(self.own.leaf()[0].read_text())

    def announcer(self, hub: HubApi | Dead, *addresses: str) -> Announcer:
        """One that announces `addresses`."""
        place = Place(addresses, None)
        return Announcer(self.own, lambda: hub, lambda observed: place, now=self.clock.now)  # type: ignore[arg-type,return-value]  # Dead raises at each use

    def note(self, seq: int, *addresses: str, pin: str = "", lifetime: float = 1800) -> str:
        """An announcement of its own, signed."""
        said = Announcement(
            id=self.id, genesis=self.identities.host.genesis, seq=seq, addresses=addresses,
            pin=pin or self.own.pin(), reachable=None, issued=self.clock.now(),
            expires=self.clock.now() + timedelta(seconds=lifetime),
        )  # fmt: skip
        return announcement.sign(said, self.own.host_key(self.identities))

    def operate(self, hub: HubApi, action: str) -> PrivateKey | None:
        """Change the host's keys at the hub as somebody elsewhere does who has its control key."""
        control = keyfile.load(self.identities.path("host", "control"))
        state = history.verified(hub.operations(self.id)).state
        signing = None if action == "revoke" else PrivateKey.generate()
        changed = Operation(
            action=action, seq=state.seq + 1, prev=state.head, time=self.clock.now(),
            signing=signing.public if signing else None, control=state.control,
        )  # fmt: skip
        hub.operate(self.id, operation.sign(changed, [control, *([signing] if signing else [])]))
        return signing


class Dead:
    """A hub that cannot be reached: every call fails as a client's does; its root note is known."""

    def __init__(self, hub: HubApi | None = None) -> None:
        if hub is not None:
            self.name, self.root = hub.name, hub.root

    def __getattr__(self, name: str) -> object:
        raise UnreachableError("the hub does not answer", "try again later")


def local_hub(folder: Path, clock: Clock) -> LocalHub:
    """A hub in `folder`."""
    return LocalHub.open(folder / "hub", now=clock.now)


def make_party(folder: Path, hub: HubApi, clock: Clock, name: str, passphrase: str = "") -> Party:
    """An instance `name` below `folder` with keys of `hub`."""
    keys = folder / name / "ampnode"
    keys.mkdir(parents=True)
    pending = folder / name / "pending"
    identities = create_identities(keys, hub=hub, pending=pending, passphrase=passphrase, now=clock.now())
    finish_pending(pending)
    party = Party(Own(keys, folder / name / "state"), identities, clock)
    party.new_leaf()
    return party
