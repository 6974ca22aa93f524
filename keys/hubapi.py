"""What every hub does, be it inside this program (keys/hub) or a server far away (keys/hubclient)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from keys.operation import SignedOperation
from keys.root import Root


class Announced(msgspec.Struct, frozen=True):
    """A hub's answer to an announcement.

    `observed` is the address from which it came, as 203.0.113.7 ("" where the hub does not know);
    `reachable` what dialling back showed (None: not tried); `ttl` for how many seconds the hub gives the
    note to others; `reannounce_after` when to come again, in seconds; `head` the base64 digest of the
    identity's newest operation: one that is not its own means that somebody else has its control key.
    """

    observed: str
    reachable: bool | None
    ttl: int
    reannounce_after: int
    head: str


class HubApi(Protocol):
    """A hub, whose root has been verified.

    All calls raise TrustError (malformed, or not signed by whom it must be), MissingError (an id or owner
    that the hub does not know), StorageError, TakenError (busy) and, where the hub is a server,
    UnreachableError.
    """

    @property
    def name(self) -> str:
        """The hub's name (the origin of its root note), as local.k3nqzb2xw7yra4tf or hub.example."""

    @property
    def root(self) -> Root:
        """What its newest root note says."""

    @property
    def root_note(self) -> str:
        """Its newest root note."""

    def register(self, first: SignedOperation, invite: str = "") -> str:
        """Allot an id to a first operation and return its statement (a public key file).

        The same operation gives the same id again, whoever asks; an invite is then not used up.

        Raises: QuotaError, RefusedError where an invite is asked for, and those of every call.
        """

    def operate(self, id: str, signed: SignedOperation) -> str:
        """Append rotate, revoke or recover to the chain of `id`; the new statement.

        The operation that is the newest already gives its statement again.

        Raises: HeadError where `prev` is not the newest operation, and those of every call.
        """

    def adopt(self, operations: Sequence[SignedOperation], invite: str = "") -> str:
        """Take over a whole chain from another hub, the first operation first; the statement.

        The genesis stays, the id is new. What is known already is passed over, so that a second try is fine.

        Raises: HeadError where this hub has another operation in one's place, QuotaError, RefusedError, and
        those of every call.
        """

    def statement(self, id: str) -> str:
        """A statement about `id` that holds for a while yet: the hub makes a new one at half of its life."""

    def operations(self, id: str) -> list[str]:
        """The notes of the whole chain of `id`, the first one first."""

    def announce(self, id: str, note: str, source: str = "") -> Announced:
        """Publish the host's signed `note` (keys/announcement.py); `source` is where it came from.

        Raises: HeadError where its seq does not rise, and those of every call.
        """

    def announcement(self, id: str) -> str:
        """The newest announcement of `id`, to the letter. Verify it.

        Raises: MissingError where there is none or it has expired, and those of every call.
        """
