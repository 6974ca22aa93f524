"""From an id to who that is and where: what the hub says, verified, kept for a while and remembered.

Blocks; safe in several threads. While the hub does not answer, what was seen last holds until it expires.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from keys import announcement, history, statement
from keys.announcement import Announcement
from keys.contact.remembered import Remembered
from keys.errors import BusyError, TrustError
from keys.fields import utc_now
from keys.hubapi import HubApi
from lib.contact.token import Caller
from lib.errors import AmpzeroError, RefusedError, TakenError, UnreachableError

FRESH = 60.0
"""Seconds for which an answer of the hub is taken for true: so long may a revoked key still be believed."""
RETRY = 5.0
"""Seconds before one id is asked for again, however much somebody wants to know."""
MOST = 4096
"""Ids that are kept in memory."""
RATE, BURST = 20.0, 60.0
"""Look-ups a second that callers can cause, and how many at once."""


@dataclass(frozen=True)
class Peer:
    """Another instance: who it is, and what it announces."""

    who: Caller
    said: Announcement


@dataclass(frozen=True)
class _Found:
    at: float
    peer: Peer | None
    problem: AmpzeroError | None


class Resolver:
    """Asks `hub()`, which may fail as the hub's calls do, and remembers in `remembered()`."""

    def __init__(
        self, hub: Callable[[], HubApi], *, now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._hub, self._now, self._clock = hub, now, clock
        self._found: OrderedDict[str, _Found] = OrderedDict()
        self._lock = threading.Lock()
        self._asking: dict[str, threading.Lock] = {}
        self._tokens, self._filled = BURST, clock()

    def peer(self, id: str, *, newer_than: float = FRESH) -> Peer:
        """Who `id` is and where; what was found within `newer_than` seconds (at least RETRY) is taken.

        Raises: MissingError (unknown, or announces nothing), RefusedError (its keys are revoked), TrustError
        (what the hub says cannot be believed), BusyError, UnreachableError, StorageError.
        """
        with self._lock:
            mine = self._asking.setdefault(id, threading.Lock())
        with mine:
            try:
                return self._settled(id, max(newer_than, RETRY))
            finally:
                with self._lock:
                    self._asking.pop(id, None)

    def _settled(self, id: str, newer_than: float) -> Peer:
        found = self._found.get(id)
        limit = newer_than if found and found.peer else RETRY
        if found is None or self._clock() - found.at > limit:
            found = self._look(id, found)
        if found.problem is not None:
            raise type(found.problem)(found.problem.message, found.problem.hint)
        assert found.peer is not None  # noqa: S101 -- one of the two is there
        found.peer.said.check(self._now())
        return found.peer

    def _look(self, id: str, before: _Found | None) -> _Found:
        self._take_token()
        try:
            found = _Found(self._clock(), self._ask(id), None)
        except (UnreachableError, TakenError) as error:
            found = self._recalled(id, before, error)
        except AmpzeroError as error:
            found = _Found(self._clock(), None, error)
        with self._lock:
            self._found[id] = found
            self._found.move_to_end(id)
            while len(self._found) > MOST:
                self._found.popitem(last=False)
        return found

    def _ask(self, id: str) -> Peer:
        """All that the hub says about `id`, verified."""
        hub = self._hub()
        remembered = Remembered.of_hub(hub.name)
        stated = hub.statement(id)
        host = self._stated(hub, remembered, id, stated)
        if host.owner is None:
            raise TrustError(f"{id} is no host", "hosts are called as host-7")
        owner = self._history(hub, remembered, host.owner.id, host.owner.genesis, "")
        chain = self._history(hub, remembered, id, host.genesis, host.head)
        history.taken(chain, owner)
        state = chain.state
        if state.signing is None:
            raise RefusedError(f"the keys of {id} are revoked", "its owner can give it new ones")
        note = hub.announcement(id)
        said = announcement.verify(note, state.signing, self._now())
        if (said.id, said.genesis) != (id, state.genesis):
            raise TrustError(f"the hub shows the announcement of {said.id} for {id}")
        remembered.keep_announcement(note, said)
        remembered.keep_statement(id, stated)
        return Peer(Caller(id, state.genesis, host.owner.id, host.owner.genesis), said)

    def _stated(self, hub: HubApi, remembered: Remembered, id: str, note: str) -> statement.Statement:
        said = statement.verify(note, hub.root.verifier)
        if said.id != id:
            raise TrustError(f"the hub made a statement about {said.id} in place of {id}")
        seen = remembered.chain(id)
        if seen is not None and seen.state.genesis != said.genesis:
            raise TrustError(
                f"the hub says that {id} is somebody else than before",
                f"what was seen is {remembered.folder}",
            )
        return said

    def _history(
        self, hub: HubApi, remembered: Remembered, id: str, genesis: str, head: str
    ) -> history.History:
        """The chain of `id` up to `head`; empty for an owner, whose later operations change nothing."""
        seen = remembered.chain(id)
        if seen is not None and seen.state.genesis == genesis and head in ("", seen.state.head):
            return seen
        chain = history.verified(hub.operations(id))
        if chain.state.genesis != genesis or (head and chain.state.head != head):
            raise TrustError(f"the hub's statement about {id} is not what its operations lead to")
        remembered.keep_chain(id, chain)
        return chain

    def _recalled(self, id: str, before: _Found | None, error: AmpzeroError) -> _Found:
        """What was found before, while it holds; the hub is asked again after RETRY."""
        again = self._clock() - FRESH + RETRY
        if before is not None and before.peer is not None:
            return _Found(again, before.peer, None)
        try:
            if peer := self._from_files(id):
                return _Found(again, peer, None)
        except AmpzeroError:
            pass  # the hub's trouble is the better answer
        return _Found(self._clock(), None, error)

    def _from_files(self, id: str) -> Peer | None:
        hub = self._hub()
        remembered = Remembered.of_hub(hub.name)
        chain, note, stated = remembered.chain(id), remembered.announced(id), remembered.stated(id)
        if chain is None or chain.state.signing is None or not note or not stated:
            return None
        host = self._stated(hub, remembered, id, stated)
        said = announcement.verify(note, chain.state.signing, self._now())
        if host.owner is None or (said.id, said.genesis) != (id, chain.state.genesis):
            return None
        return Peer(Caller(id, host.genesis, host.owner.id, host.owner.genesis), said)

    def _take_token(self) -> None:
        with self._lock:
            now = self._clock()
            self._tokens = min(BURST, self._tokens + (now - self._filled) * RATE)
            self._filled = now
            if self._tokens < 1:
                raise BusyError("too many unknown instances call at once", "try again in a minute", 5.0)
            self._tokens -= 1
