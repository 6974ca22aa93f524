"""The whole chain of one identity's operations as text: the file `host-7.operations.key`, and a hub's answer.

The notes stand one after the other, the first operation first, with a line `---` between two; such a line
is in no note. Whoever holds this file and trusts the first operation needs no hub to know the keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from keys import chain, operation
from keys.chain import State
from keys.errors import TrustError
from keys.fields import MAX_BODY, text_of
from keys.note import Verifier
from keys.operation import SIGNER, SignedOperation
from keys.publickey import PublicKey
from keys.reading import RESTORE, read_up_to

SEPARATOR = "---"
MAX_OPERATIONS = 1000
MAX_FILE = MAX_OPERATIONS * (MAX_BODY + len(SEPARATOR) + 1)
"""Bytes."""


@dataclass(frozen=True)
class History:
    """Verified operations, and the state after each of them."""

    operations: tuple[SignedOperation, ...]
    states: tuple[State, ...]

    @property
    def state(self) -> State:
        """What holds now."""
        return self.states[-1]

    def __str__(self) -> str:
        return join(str(signed.note) for signed in self.operations)

    def has(self, digest: str) -> bool:
        """Whether the operation with this digest is one of these."""
        return any(state.head == digest for state in self.states)

    def begins_with(self, other: History) -> bool:
        """Whether this is `other`, or a continuation of it."""
        heads = [state.head for state in other.states]
        return [state.head for state in self.states[: len(heads)]] == heads

    def with_next(self, signed: SignedOperation) -> History:
        """This with one more operation.

        Raises: TrustError.
        """
        return History((*self.operations, signed), (*self.states, chain.extend(self.state, signed)))

    def signers(self, number: int) -> list[PublicKey]:
        """The identity's keys that signed the operation `number` (from 0)."""
        before = self.states[number - 1] if number else self.states[0]
        after = self.states[number]
        known = dict.fromkeys(key for key in (*before.control, after.signing, *after.control) if key)
        found = self.operations[number].note.verify(Verifier(SIGNER, key) for key in known)
        return [verifier.key for verifier in found]


def verified(operations: Iterable[SignedOperation | str]) -> History:
    """The history that these operations are, the first one first.

    Raises: TrustError.
    """
    signed: list[SignedOperation] = []
    states: list[State] = []
    for each in operations:
        if len(signed) == MAX_OPERATIONS:
            raise TrustError(f"a chain of more than {MAX_OPERATIONS} operations")
        signed.append(operation.parse(each) if isinstance(each, str) else each)
        states.append(chain.extend(states[-1] if states else None, signed[-1]))
    if not signed:
        raise TrustError("an empty chain")
    return History(tuple(signed), tuple(states))


def taken(host: History, owner: History) -> State:
    """The state of the owner in which it took the host as its own.

    Raises: TrustError where it never did.
    """
    problem = TrustError("the owner never took this host as its own")
    for state in owner.states:
        try:
            chain.check_owner(host.operations[0], state)
            return state
        except TrustError as error:
            problem = error
    raise problem


def join(notes: Iterable[str]) -> str:
    """The text of these notes."""
    return f"{SEPARATOR}\n".join(notes)


def split(raw: bytes | str) -> list[str]:
    """The notes in such a text, none of them believed yet.

    Raises: TrustError.
    """
    first, *others = text_of(raw, MAX_FILE, "a chain of operations").split(f"\n{SEPARATOR}\n")
    if len(others) >= MAX_OPERATIONS:
        raise TrustError(f"a chain of more than {MAX_OPERATIONS} operations")
    notes = [first, *others]
    return [f"{note}\n" for note in notes[:-1]] + notes[-1:]


def parse(raw: bytes | str) -> History:
    """The history in such a text, verified.

    Raises: TrustError.
    """
    return verified(split(raw))


def read(path: Path) -> History | None:
    """The history in the file `path`, verified; None where there is no such file.

    Raises: TrustError, StorageError.
    """
    raw = read_up_to(path, MAX_FILE)
    try:
        return None if raw is None else parse(raw)
    except TrustError as error:
        raise TrustError(f"{path}: {error.message}", RESTORE) from error
