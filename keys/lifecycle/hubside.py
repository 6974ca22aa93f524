"""A hub's side of a change of keys: what it must know already, what it is told, what it says then.

Whatever it answers is verified: its chain must continue the one that is known here, its statement must say
what the chain says, and its root must follow the one in hub.public.key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from keys import history, keyfile, operation, statement
from keys import root as roots
from keys.errors import HeadError, TrustError
from keys.fields import MAX_BODY, moment
from keys.history import History
from keys.hubapi import HubApi
from keys.identities import HUB_FILE, Identities
from keys.lifecycle.journal import Change
from keys.reading import read_public
from keys.root import Root
from keys.statement import Statement
from lib.errors import MissingError
from lib.files import write_atomic

THEFT = (
    "if that was not you: ampzero keys recover, see docs/keys.md; if it was, take the key files from there"
)


MOST_ROOTS = 64
"""Versions of a root that are followed at once."""


@runtime_checkable
class Versioned(Protocol):
    """A hub that shows earlier versions of its root."""

    def root_version(self, version: int) -> str:
        """The note of one version."""


class HubSide:
    """The hub of the keys in `folder`."""

    def __init__(self, hub: HubApi, folder: Path) -> None:
        self._hub = hub
        self._folder = folder

    def newest(self, said: Statement, file: Path, follow: bool) -> History:
        """The identity's chain at the hub, which must continue the one that is known here.

        Raises: HeadError where it is longer and that may not be (`follow`); TrustError, and as the hub.
        """
        newest = history.verified(self._hub.operations(said.id))
        if newest.state.genesis != said.genesis:
            raise TrustError(f"the hub {self._hub.name} gave another identity's chain for {said.id}")
        known = history.read(file)
        if not newest.has(said.head) or (known and not newest.begins_with(known)):
            raise TrustError(
                f"the hub {self._hub.name} has another history of {said.id} than the one that is known here",
                "do not trust this hub; keep the key files and ask who runs it",
            )
        if newest.state.head != said.head and not follow:
            raise _changed_elsewhere(said.id, said.seq, newest)
        return newest

    def submit(self, change: Change) -> None:
        """Have the hub take every operation that it has not yet; a host's that comes too late is left out.

        Raises: HeadError where the first one comes too late; and as the hub.
        """
        for number, step in enumerate(list(change.steps)):
            signed = operation.parse(step.operation)
            if signed.operation.digest in _digests(self._hub, step.id):
                continue
            try:
                self._hub.operate(step.id, signed)
            except HeadError:
                newest = history.verified(self._hub.operations(step.id))
                if newest.has(signed.operation.digest):
                    continue
                problem = _changed_elsewhere(step.id, signed.operation.seq - 1, newest)
                if number == 0:
                    raise problem from None
                leave_out(change, number, f"{problem.message}; it still obeys the control keys from before")
                return

    def gather(self, change: Change, identities: Identities) -> dict[str, str]:
        """The public files as the hub has them now, verified; the new keys must be in them.

        Raises: HeadError where they are not any more; TrustError, and as the hub.
        """
        # A client of a hub elsewhere looks for a newer root when it is asked for a statement.
        self._hub.statement(change.steps[0].id)
        path = self._folder / HUB_FILE
        known = read_public(path, MAX_BODY).decode(errors="replace")
        newest_note = root_notes(self._hub, known)[-1]
        hub = roots.verify(newest_note)
        files = {}
        for number, step in enumerate(list(change.steps)):
            newest = history.verified(self._hub.operations(step.id))
            digest = operation.parse(step.operation).operation.digest
            if not newest.has(digest):
                raise TrustError(f"the hub {self._hub.name} took the operation on {step.id} and lost it")
            keys = {newest.state.signing, *newest.state.control}
            lost = not {keyfile.header(text.encode()).public for text in step.secrets.values()} <= keys
            if lost or (newest.state.head != digest and not step.secrets):
                problem = _changed_elsewhere(step.id, newest.state.seq - 1, newest)
                if number == 0:
                    raise problem
                leave_out(change, number, problem.message)
                break
            files.update(self._public(step.id, newest, hub))
        if newest_note != known:
            files[HUB_FILE] = newest_note
            files.update(self._others(change, identities, hub))
        return files

    def _others(self, change: Change, identities: Identities, hub: Root) -> dict[str, str]:
        """What the hub's new root makes necessary for the identity that is not changed."""
        files = {}
        for kind, said in (("user", identities.user), ("host", identities.host)):
            if said.id not in [step.id for step in change.steps]:
                try:
                    newest = self.newest(said, identities.path(kind, "operations"), False)
                except HeadError as error:
                    change.warnings.append(error.message)
                    continue
                files.update(self._public(said.id, newest, hub))
        return files

    def _public(self, id: str, newest: History, hub: Root) -> dict[str, str]:
        text = self._hub.statement(id)
        said = statement.verify(text, hub.verifier)
        if said.id != id:
            raise TrustError(f"the hub {hub.origin} made a statement about {said.id} in place of {id}")
        said.check(newest.state)
        return {f"{id}.operations.key": str(newest), f"{id}.public.key": text}


def root_notes(hub: HubApi, known_text: str) -> list[str]:
    """The hub's root notes from the one that is known to its newest, each verified by the one before.

    Raises: TrustError, and as the hub.
    """
    known = roots.verify(known_text)
    newest = roots.parse(hub.root_note)[0]
    if newest.origin != known.origin or not known.version <= newest.version <= known.version + MOST_ROOTS:
        raise TrustError(f"the hub {newest.origin} is not the one of these keys, {known.origin}")
    notes = [known_text]
    for version in range(known.version + 1, newest.version + 1):
        text = hub.root_note
        if version < newest.version:
            if not isinstance(hub, Versioned):
                raise TrustError(f"the hub {newest.origin} does not show version {version} of its root")
            text = hub.root_version(version)
        known = roots.verify(text, known)
        notes.append(text)
    if known != newest:
        raise TrustError(f"the hub {newest.origin} has two roots of version {known.version}")
    return notes


def leave_out(change: Change, number: int, why: str) -> None:
    """The steps of `change` from this one on are not done; neither is what hangs on their keys."""
    if any("private" in step.secrets for step in change.steps[number:]):
        change.beside.clear()
    change.steps = change.steps[:number]
    change.warnings.append(why)


def complete_chains(folder: Path, found: Identities, hub: HubApi) -> None:
    """Write the chains of operations that are not beside the keys, as those of an older instance.

    Raises: TrustError, MissingError, UnreachableError, StorageError.
    """
    for kind, said in (("user", found.user), ("host", found.host)):
        path = found.path(kind, "operations")
        if not path.exists():
            newest = history.verified(hub.operations(said.id))
            said.check(newest.state)
            write_atomic(path, str(newest), 0o644, sync=True)


def _digests(hub: HubApi, id: str) -> list[str]:
    try:
        return [state.head for state in history.verified(hub.operations(id)).states]
    except MissingError as error:
        raise MissingError(
            f"the hub {hub.name} does not know {id} (any more)",
            "has it been moved, or restored from an old copy?",
        ) from error


def _changed_elsewhere(id: str, seq: int, newest: History) -> HeadError:
    made = newest.operations[-1].operation
    return HeadError(
        f"SOMEBODY ELSE CHANGED THE KEYS OF {id}: the hub's newest operation is number {made.seq} "
        f"({made.action}, {moment(made.time)}), the one that is known here is number {seq}",
        THEFT, newest.state.head,
    )  # fmt: skip
