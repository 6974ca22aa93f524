"""HubClient: a hub over HTTP that is believed nothing.

What it says must be signed by keys that its root note names, which the reference's fingerprint and the walk
from version to version vouch for; what it registers must be in its log; and the log must have grown out of
the one that was seen before. Otherwise the call fails, and the evidence is kept (keys/hubclient/memory.py).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from keys import announcement, history, root, statement
from keys.errors import TrustError
from keys.fields import parse_digest, parse_id
from keys.history import History
from keys.hubapi import Announced
from keys.hubclient import roots
from keys.hubclient.asking import Asking
from keys.hubclient.logwatch import LogWatch
from keys.hubclient.memory import Memory
from keys.hubclient.reference import Reference, fingerprint
from keys.hubwire import INVITE, MAX_OPERATIONS, Registered
from keys.log import entry
from keys.operation import SignedOperation
from keys.root import Root
from keys.statement import Statement
from lib.errors import UsageError

REFRESH = 3600.0
"""Seconds after which the root is looked at again: a root that changed may have taken a stolen key away."""


class HubClient:
    """A hub that runs elsewhere. Make it with `connect` or `known`; fulfils keys.hubapi.HubApi.

    Every call may raise UnreachableError, BusyError (the hub is busy, or we are too many), TrustError for an
    answer that cannot be believed, HistoryError for a hub that was caught, StorageError for the memory.
    """

    def __init__(self, asking: Asking, memory: Memory, root_note: str) -> None:
        self._asking, self._memory = asking, memory
        self._looked: float | None = None
        self._use(root_note)
        self.log = LogWatch(asking, memory, lambda: self.root)

    @classmethod
    def connect(cls, reference: Reference, asking: Asking | None = None) -> HubClient:
        """The hub that the user was told of; everything about its root is checked now.

        Raises: as every call.
        """
        asking = asking or Asking(reference.url)
        text = roots.first(asking.note, reference)
        memory = Memory.open(root.parse(text)[0].origin)
        roots.remember_first(memory, text)
        client = cls(asking, memory, text)
        client.refresh()
        return client

    @classmethod
    def known(cls, root_note: str, asking: Asking | None = None) -> HubClient:
        """The hub of a root note that is trusted already, as `hub.public.key`; nothing is asked yet.

        Raises: TrustError, UsageError where it is no server, StorageError.
        """
        known = root.verify(root_note)
        if known.url == root.NO_URL:
            raise UsageError(f"the hub {known.origin} is no server", "it is inside of ampzero")
        return cls(asking or Asking(known.url), Memory.open(known.origin), root_note)

    @property
    def name(self) -> str:
        """The hub's name."""
        return self.root.origin

    def refresh(self) -> Root:
        """Look for a newer root, now.

        Raises: as every call.
        """
        self._use(roots.newest(self._asking.note, self._memory, self.root_note))
        self._looked = time.monotonic()
        return self.root

    def reference(self) -> Reference:
        """URL#FINGERPRINT of this hub, for others.

        Raises: as every call.
        """
        roots.remember_first(self._memory, text := self._asking.note("/v1/hub/1"))
        return Reference(self.root.url, fingerprint(root.verify(text)))

    def evidence(self) -> list[Path]:
        """What was kept when this hub was caught.

        Raises: StorageError.
        """
        return self._memory.evidence()

    def root_version(self, version: int) -> str:
        """The hub's root note of a version; nothing of it is believed.

        Raises: MissingError, and as every call.
        """
        return self._asking.note(f"/v1/hub/{version}")

    def register(self, first: SignedOperation, invite: str = "") -> str:
        """As HubApi's."""
        return self._enter([first], "/v1/ids", invite)

    def adopt(self, operations: Sequence[SignedOperation], invite: str = "") -> str:
        """As HubApi's."""
        return self._enter(list(operations), "/v1/ids", invite)

    def operate(self, id: str, signed: SignedOperation) -> str:
        """As HubApi's."""
        return self._enter([signed], f"/v1/ids/{parse_id(id)}/ops", "", id)

    def statement(self, id: str) -> str:
        """As HubApi's."""
        self._fresh()
        text = self._asking.note(f"/v1/ids/{parse_id(id)}")
        self._stated(text, id)
        return text

    def operations(self, id: str) -> list[str]:
        """As HubApi's; the chain is verified."""
        return [str(one.note) for one in self._history(id).operations]

    def prove(self, id: str) -> tuple[Statement, History]:
        """Everything about `id`: its statement, which its chain of operations leads to, which is in the log.

        Raises: MissingError, and as every call.
        """
        self._fresh()
        said = self._stated(self._asking.note(f"/v1/ids/{parse_id(id)}"), id)
        known = self._history(id)
        said.check(known.state)
        self.log.includes(entry.encode(id, str(known.operations[-1].note)), said.index)
        return said, known

    def announce(self, id: str, note: str, source: str = "") -> Announced:
        """As HubApi's; `source` is what the hub sees and not what we say."""
        path = f"/v1/hosts/{parse_id(id)}/announce"
        answer = self._asking.fields("PUT", path, Announced, note.encode(), patience=0.0)
        parse_digest(answer.head)
        return answer

    def announcement(self, id: str) -> str:
        """As HubApi's; it is about `id`, and only its host's key can tell more."""
        text = self._asking.note(f"/v1/hosts/{parse_id(id)}/announce", patience=0.0)
        if announcement.parse(text)[0].id != id:
            raise TrustError(f"the hub {self.name} answered with another host's announcement")
        return text

    def _enter(self, operations: list[SignedOperation], path: str, invite: str, id: str = "") -> str:
        """Hand operations over and see that they are in the log; the statement."""
        self._fresh()
        headers = {INVITE: invite} if invite else {}
        body = history.join(str(one.note) for one in operations).encode()
        answer = self._asking.fields("POST", path, Registered, body, headers)
        said = self._stated(answer.statement, id)
        newest = operations[-1]
        if (answer.id, answer.index) != (said.id, said.index):
            raise TrustError(f"the hub {self.name} contradicts its own statement about {said.id}")
        if not id and said.genesis != operations[0].operation.digest:
            raise TrustError(f"the hub {self.name} made a statement about another's keys")
        if len(operations) > 1 or id or said.head != newest.operation.digest:
            known = self._history(said.id)
            if not all(known.has(one.operation.digest) for one in operations):
                raise TrustError(f"the hub {self.name} did not take an operation of {said.id}")
        else:
            known = history.verified(operations)
        said.check(known.state)
        self.log.proven(entry.encode(said.id, str(known.operations[-1].note)), answer.index, answer.proof)
        return answer.statement

    def _history(self, id: str) -> History:
        path = f"/v1/ids/{parse_id(id)}/ops"
        return history.parse(self._asking.note(path, limit=MAX_OPERATIONS))

    def _stated(self, text: str, id: str = "") -> Statement:
        """The statement in `text`, about `id` where that is known, signed by the hub as it is now."""
        try:
            said = statement.verify(text, self.root.verifier)
        except TrustError:
            before = self.root
            if self.refresh() == before:
                raise
            said = statement.verify(text, self.root.verifier)
        if id and said.id != id:
            raise TrustError(f"the hub {self.name} answered with a statement about {said.id}, not {id}")
        return said

    def _fresh(self) -> None:
        if self._looked is None or time.monotonic() - self._looked > REFRESH:
            self.refresh()

    def _use(self, root_note: str) -> None:
        self.root_note = root_note
        self.root = root.parse(root_note)[0]
