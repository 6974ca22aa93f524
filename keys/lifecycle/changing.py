"""Carries a change of keys out: the disk first, then the hub, then the key files.

Killed at any point, the same command completes it: what was noted is taken up where it is. A change that
the hub can never take, because another came first, is forgotten and said so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from keys.errors import HeadError
from keys.fields import utc_now
from keys.hubapi import HubApi
from keys.identities import Identities, load_identities
from keys.lifecycle import placing
from keys.lifecycle.drafts import Party, Planner
from keys.lifecycle.hubside import HubSide
from keys.lifecycle.journal import Change, Journal, Step
from keys.lifecycle.keyring import Keyring
from keys.tls.pin import sign_pin

TRIES = 5
"""How often a recovery follows what a thief does meanwhile."""


@dataclass(frozen=True)
class Outcome:
    """What is so now. `resumed`: an interrupted change was completed, and it was what is asked for;
    `completed` names another one that was completed first. `archived` are the old secret keys.
    """

    identities: Identities
    changed: tuple[str, ...]
    resumed: bool = False
    completed: str = ""
    archived: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()


class Changing:
    """Changes the keys in `folder` at `hub`."""

    def __init__(
        self, folder: Path, hub: HubApi, ring: Keyring, now: Callable[[], datetime] = utc_now
    ) -> None:
        self.folder = folder
        self._side = HubSide(hub, folder)
        self._ring = ring
        self._now = now

    def completed(self, command: str) -> Outcome | None:
        """Complete `command` where it was interrupted: its keys are there, and none needs to be opened.

        Raises: as `carry_out`.
        """
        journal = Journal(self._ring.identities.user.genesis)
        with journal.locked():
            pending = journal.read()
            if pending is None or pending.command != command:
                return None
            try:
                return replace(self._complete(journal, pending), resumed=True)
            except HeadError:
                return None  # `carry_out` knows what to do

    def carry_out(self, command: str, planner: Planner, *, follow: bool = False) -> Outcome:
        """Do what `planner` says; `command` is how it is known again after an interruption.

        With `follow` it is made again on top of what others did meanwhile, as a recovery must be.

        Raises: HeadError where somebody else changed the keys; TakenError, TrustError, MissingError,
        PassphraseError, UnreachableError, StorageError, AmpzeroError.
        """
        identities = self._ring.identities
        journal = Journal(identities.user.genesis)
        with journal.locked():
            completed = ""
            if (pending := journal.read()) is not None:
                try:
                    outcome = self._complete(journal, pending)
                    if pending.command == command:
                        return replace(outcome, resumed=True)
                    completed = pending.command
                    self._ring.identities = outcome.identities
                except HeadError:
                    journal.forget()
                    if not follow:
                        raise
            for left in reversed(range(TRIES if follow else 1)):
                change = self._plan(command, planner, follow)
                journal.write(change)
                try:
                    return replace(self._complete(journal, change), completed=completed)
                except HeadError:
                    journal.forget()
                    if not left:
                        raise
        raise AssertionError("unreachable")

    def _plan(self, command: str, planner: Planner, follow: bool) -> Change:
        identities = self._ring.identities
        parties = []
        for kind, said in (("user", identities.user), ("host", identities.host)):
            newest = self._side.newest(said, identities.path(kind, "operations"), follow)
            parties.append(Party(kind, said.id, newest, newest.state.head != said.head))
        user, host = parties
        plan = planner(user, host, self._ring, self._now())
        steps = []
        beside = {}
        tls = self.folder.parent / "nginx"
        for draft in plan.drafts:
            if draft.party.kind == "host" and "private" in draft.keys and (tls / "server.pin").is_file():
                # What the old key signed would be refused until the next run signs it again.
                beside["nginx/server.pin"] = sign_pin(draft.keys["private"], tls / "server.cert")
            secrets = {
                part: self._ring.encode(key, draft.party.kind, part) for part, key in draft.keys.items()
            }
            steps.append(Step(draft.party.id, str(draft.signed.note), secrets, list(draft.retire)))
        return Change(command, steps, beside=beside, warnings=list(plan.warnings))

    def _complete(self, journal: Journal, change: Change) -> Outcome:
        """From wherever `change` is to its end."""
        if not change.files:
            self._side.submit(change)
            change.files = self._side.gather(change, self._ring.identities)
            journal.write(change)
        placing.place(self.folder, change)
        load_identities(self.folder)
        archived = placing.settle(self.folder, change)
        identities = load_identities(self.folder)
        journal.forget()
        return Outcome(
            identities, tuple(step.id for step in change.steps), archived=tuple(archived),
            warnings=tuple(change.warnings),
        )  # fmt: skip
