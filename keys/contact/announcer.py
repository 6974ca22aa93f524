"""Tells the hub where this instance is: when it starts, before that expires, and when something changed.

`step` blocks and does one round; the app (app.py) decides when. What was reached is in the report, which is
all that anybody sees of it.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from keys import announcement, statement
from keys.announcement import Announcement
from keys.contact.own import Own
from keys.errors import BusyError, HeadError, PassphraseError, TrustError
from keys.fields import moment, utc_now
from keys.hubapi import Announced, HubApi
from keys.identities import Identities
from lib.contact.report import HubReport
from lib.errors import AmpzeroError, MissingError, RefusedError

LIFETIME = timedelta(minutes=30)
"""How long an announcement holds: about what a thief of the host's key can leave behind."""
FIRST_WAIT, LONGEST_WAIT = 2.0, 300.0
"""Seconds until a hub that failed is tried again: they double from the first to the longest."""
LEAST_PAUSE = 1.0
"""Seconds between two announcements, however often something changes."""

DOUBT = 75.0
"""Seconds until a hub that could not dial us, in spite of the gateway's word, is asked again; then double."""


@dataclass
class Place:
    """Where we are, as the app found out. `served` is why nobody can call us here; empty where they can."""

    addresses: tuple[str, ...]
    reachable: bool | None
    served: str = ""


@dataclass
class Announcer:
    """One instance's announcements. `seq` is the last one's; `place()` says where we are just now."""

    own: Own
    hub: Callable[[], HubApi]
    place: Callable[[str], Place]
    seq: int = 0
    now: Callable[[], datetime] = utc_now
    report: HubReport = field(default_factory=lambda: HubReport("starting", "not announced yet"))
    failures: int = 0
    doubts: int = 0
    _alarm: str = ""
    _tried: tuple[str, str] | tuple[()] = ()
    _hurried: bool = False

    def step(self) -> float:
        """Announce once; the seconds until the next time."""
        try:
            identities = self.own.identities()
            self.report = msgspec.structs.replace(
                self.report, id=identities.host_id, hub=identities.hub, warnings=identities.warnings
            )
            return self._announce(identities)
        except AmpzeroError as error:
            self.failures += 1
            wait = float(min(FIRST_WAIT * 2 ** min(self.failures - 1, 16), LONGEST_WAIT))
            if isinstance(error, BusyError):
                wait = max(wait, min(error.retry_after, LONGEST_WAIT))
            wait *= random.uniform(0.8, 1.2)  # noqa: S311 -- many must not come at one moment; no secret
            self._failed(error, wait)
            return wait

    def changed(self) -> bool:
        """Whether our keys are others than when the hub was told last, or could not be."""
        try:
            return bool(self._tried) and self._keys(self.own.identities()) != self._tried
        except AmpzeroError:
            return False

    def _keys(self, identities: Identities) -> tuple[str, str]:
        """What an announcement is made with: the pin, and the operation that the host's key is of."""
        return self.own.pin(), identities.host.head

    def _announce(self, identities: Identities) -> float:
        self._tried = self._keys(identities)
        key, pin = self.own.host_key(identities), self._tried[0]
        place, now = self.place(self.report.observed), self.now().replace(microsecond=0)
        if place.served:
            raise MissingError(place.served)
        said = Announcement(
            id=identities.host_id, genesis=identities.host.genesis, seq=self._next_seq(now),
            addresses=place.addresses, pin=pin, reachable=place.reachable, issued=now, expires=now + LIFETIME,
        )  # fmt: skip
        hub = self.hub()
        try:
            answer = hub.announce(identities.host_id, announcement.sign(said, key))
        except (HeadError, TrustError, RefusedError):
            self._look_why(hub, identities, said)
            raise
        self.seq, self.failures = said.seq, 0
        self._judge_head(identities, answer.head)
        wait = _pause(answer, said)
        self.doubts = self.doubts + 1 if place.reachable and answer.reachable is False else 0
        if self.doubts:
            # The gateway says that we can be reached and the hub says no; it keeps its word for a minute.
            wait = min(wait, DOUBT * 2 ** min(self.doubts - 1, 16))
        self._announced(said, answer, wait)
        # The address that the hub saw may be one to announce at once. Not twice in a row: of a machine with
        # IPv4 and IPv6 it could be another one each time.
        self._hurried = not self._hurried and self._is_news(answer, place)
        return LEAST_PAUSE if self._hurried else wait

    def _next_seq(self, now: datetime) -> int:
        return max(self.seq + 1, int(now.timestamp()))

    def _look_why(self, hub: HubApi, identities: Identities, said: Announcement) -> None:
        """After a refusal: was our seq overtaken (a state folder that was lost), or are our keys changed?"""
        known = statement.verify(hub.statement(identities.host_id), hub.root.verifier)
        self._judge_head(identities, known.head)
        try:
            before, _ = announcement.parse(hub.announcement(identities.host_id))
            if before.genesis == said.genesis:
                self.seq = max(self.seq, before.seq)
        except AmpzeroError:
            return

    def _judge_head(self, identities: Identities, head: str) -> None:
        own = self.own.head(identities)
        alarm = head if head != own else ""
        if alarm:
            _log(
                f"ALARM: the newest operation on the keys of {identities.host_id} at {identities.hub} is "
                f"{head}, ours is {own}: somebody else changed the keys. If it was you, elsewhere, bring "
                f"those key files here; else see docs/contact.md at once"
            )
        self._alarm = alarm

    def _is_news(self, answer: Announced, place: Place) -> bool:
        return bool(answer.observed) and self.place(answer.observed).addresses != place.addresses

    def _announced(self, said: Announcement, answer: Announced, wait: float) -> None:
        seen = f", seen as {answer.observed}" if answer.observed else ""
        why = f"{said.id} at {self.report.hub}: {', '.join(said.addresses) or 'no address'}{seen}"
        if answer.reachable is not None:
            why += ", dialled back" if answer.reachable else ", not reachable from there"
        if self.report.state != "announced":
            _log(f"announced: {why}")
        self.report = msgspec.structs.replace(
            self.report, state="announced", why=why, addresses=said.addresses,
            pin=announcement.PREFIX + said.pin, observed=answer.observed, reachable=answer.reachable,
            announced=moment(said.issued), expires=moment(said.expires), head=answer.head,
            next=moment(self.now() + timedelta(seconds=wait)),
        )  # fmt: skip
        self._raise_alarm()

    def _failed(self, error: AmpzeroError, wait: float) -> None:
        state = "off" if isinstance(error, PassphraseError) else "failing"
        why = f"{error.message} ({error.hint})" if error.hint else error.message
        if (state, why) != (self.report.state, self.report.why):
            _log(f"{'nothing is announced' if state == 'off' else 'not announced'}: {why}")
        again = moment(self.now() + timedelta(seconds=wait))
        self.report = msgspec.structs.replace(self.report, state=state, why=why, next=again)
        self._raise_alarm()

    def _raise_alarm(self) -> None:
        if self._alarm:
            why = f"somebody else changed the keys of {self.report.id}: the hub's head is {self._alarm}"
            self.report = msgspec.structs.replace(self.report, state="alarm", why=why, head=self._alarm)


def _pause(answer: Announced, said: Announcement) -> float:
    """Seconds until the next one: when the hub wants it, yet well before this one ends; earlier by up to a
    tenth, so that those who started together part."""
    life = (said.expires - said.issued).total_seconds()
    wanted = min(max(float(answer.reannounce_after), LEAST_PAUSE), life / 2)
    return wanted * random.uniform(0.9, 1.0)  # noqa: S311 -- no secret


def _log(text: str) -> None:
    """A line for the service's log."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
