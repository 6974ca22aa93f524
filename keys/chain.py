"""The chain of an identity's operations: what may follow what. Pure; knows no hub and no clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from keys.errors import TrustError
from keys.note import Verifier
from keys.operation import OWNER, SIGNER, SignedOperation
from keys.publickey import PublicKey


@dataclass(frozen=True)
class State:
    """What holds after the newest operation.

    `genesis` and `head` are the first and the newest operation's digests; `owner` is the owner's genesis
    (hosts); `signing` is None while revoked; `control` has the highest rank first.
    """

    genesis: str
    head: str
    seq: int
    kind: str
    owner: str
    signing: PublicKey | None
    control: tuple[PublicKey, ...]


def extend(state: State | None, signed: SignedOperation) -> State:
    """The state after `signed`, which must follow `state` (None: it is the first).

    Raises: TrustError.
    """
    operation = signed.operation
    operation.check()
    if state is None:
        if operation.action != "register":
            raise TrustError(f"a chain begins with register, not with {operation.action}")
        _all_signed(signed, set(), [key for key in (operation.signing, *operation.control) if key])
        return State(
            operation.digest, operation.digest, operation.seq, operation.kind, operation.owner,
            operation.signing, operation.control,
        )  # fmt: skip
    if operation.action == "register":
        raise TrustError("an identity registers only once")
    if operation.seq != state.seq + 1:
        raise TrustError(f"operation {operation.seq} does not follow operation {state.seq}")
    if operation.prev != state.head:
        raise TrustError(f"operation {operation.seq} was made after another operation than the newest")
    new = [key for key in operation.control if key not in state.control]
    if operation.signing and operation.signing != state.signing:
        new.append(operation.signing)
    signers = _all_signed(signed, set(state.control), new)
    ranks = [rank for rank, key in enumerate(state.control) if key in signers]
    if not ranks:
        raise TrustError(f"operation {operation.seq} is not signed by a control key of the state before it")
    rank = ranks[0]
    if operation.control[:rank] != state.control[:rank]:
        raise TrustError(
            f"operation {operation.seq} is signed at rank {rank + 1} and changes a rank above it"
        )
    return State(
        state.genesis, operation.digest, operation.seq, state.kind, state.owner,
        operation.signing, operation.control,
    )  # fmt: skip


def verify(operations: Iterable[SignedOperation]) -> State:
    """The state after a whole chain.

    Raises: TrustError, also for an empty chain.
    """
    state: State | None = None
    for signed in operations:
        state = extend(state, signed)
    if state is None:
        raise TrustError("an empty chain")
    return state


def check_owner(signed: SignedOperation, owner: State) -> None:
    """A registering host must be taken by its owner: signed by the owner's signing key, and with a control
    key of the owner at the highest rank, so that the owner can always recover it.

    Raises: TrustError.
    """
    operation = signed.operation
    if owner.kind != "user" or operation.owner != owner.genesis:
        raise TrustError("the host names another owner")
    if owner.signing is None:
        raise TrustError("the owner's keys are revoked")
    if operation.control[0] not in owner.control:
        raise TrustError("the host's highest control key is not its owner's")
    signed.note.verify([Verifier(OWNER, owner.signing)])


def _all_signed(signed: SignedOperation, old: set[PublicKey], new: list[PublicKey]) -> set[PublicKey]:
    """The keys of `old` and `new` that signed; all of `new` must have."""
    verifiers = [Verifier(SIGNER, key) for key in old.union(new)]
    signers = {verifier.key for verifier in signed.note.verify(verifiers)}
    for key in new:
        if key not in signers:
            raise TrustError(
                f"operation {signed.operation.seq} is not signed by its new key {key.fingerprint}"
            )
    return signers
