"""Registration and changes of keys: what belongs together, inside one transaction, with the log's entries.

Nothing is half done when the process is killed: until the commit there is no id, no entry and no statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from keys import chain, history, note, statement
from keys.errors import TrustError
from keys.history import History
from keys.hub import announcements, invites, logbook, quotas, registry
from keys.hub.database import Work
from keys.hub.quotas import Options
from keys.hub.registry import Identity
from keys.operation import SignedOperation
from keys.publickey import PublicKey
from lib.errors import MissingError


@dataclass(frozen=True)
class Registrar:
    """For one piece of work at the hub `origin`, which signs statements with `online`."""

    origin: str
    online: note.SigningKey
    options: Options
    now: datetime

    def add(self, work: Work, given: History, invite: str, source: str) -> str:
        """Register a chain that is new here; its statement.

        Raises: TrustError, MissingError, QuotaError, RefusedError.
        """
        state = given.state
        if state.owner:
            self._check_owner(work, given)
            quotas.check_hosts(work, self.options, state.owner)
        elif self.options.invites:
            invites.use(work, invite, state.genesis, self.now)
        quotas.count_registration(work, self.options, source, self.now)
        number = registry.next_number(work, state.kind)
        new = Identity(state.genesis, state.kind, number, state.owner, "", "", "", 0)
        registry.add(work, new)
        for count, signed in enumerate(given.operations):
            quotas.check_operations(self.options, count)
            logbook.append(work, new.id, state.genesis, signed.operation.seq, str(signed.note))
        return self.state_it(work, new, given)

    def append(self, work: Work, known: Identity, have: History, new: Sequence[SignedOperation]) -> str:
        """Append operations to the chain `have` of `known`; the new statement.

        Raises: TrustError, QuotaError.
        """
        if not new and self.now.timestamp() < known.renew_after:
            return known.statement
        for signed in new:
            quotas.check_operations(self.options, len(have.operations))
            have = have.with_next(signed)
            logbook.append(work, known.id, known.genesis, signed.operation.seq, str(signed.note))
        if str(have.state.signing or "") != known.signing:
            announcements.withdraw(work, known.genesis)
        return self.state_it(work, known, have)

    def _check_owner(self, work: Work, host: History) -> None:
        """The owner is here and has taken the host: with the keys of now; or with earlier ones, where a
        control key of now is the host's highest: else whoever has only stolen, replaced keys could add hosts.

        Raises: TrustError, MissingError.
        """
        genesis = host.state.owner
        if registry.by_genesis(work, genesis) is None:
            raise MissingError("the host's owner is not registered at this hub", "register the user first")
        owner = registry.chain(work, genesis)
        try:
            chain.check_owner(host.operations[0], owner.state)
        except TrustError:
            if owner.state.signing is None or host.state.control[0] not in owner.state.control:
                raise
            history.taken(host, owner)

    def state_it(self, work: Work, known: Identity, about: History) -> str:
        """Sign and keep a statement about the newest state."""
        owner: statement.Owner | None = None
        controls: list[PublicKey] = []
        if known.owner and (row := registry.by_genesis(work, known.owner)):
            owner = statement.Owner(row.id, row.genesis)
            # Also those that the owner had when it took the host: they were the owner's and not the host's.
            controls = [key for state in registry.chain(work, known.owner).states for key in state.control]
        said = statement.make(
            about.state, id=known.id, hub=self.origin, now=self.now, owner=owner,
            owner_control=tuple(controls), index=registry.index_of(work, known.genesis, about.state.seq),
        )  # fmt: skip
        stated = replace(
            known, head=said.head, signing=str(said.signing or ""),
            statement=statement.sign(said, self.online),
            renew_after=int((said.issued + statement.LIFETIME / 2).timestamp()),
        )  # fmt: skip
        registry.update(work, stated)
        return stated.statement
