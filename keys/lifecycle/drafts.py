"""Which operations rotate, revoke or recover keys: pure, checked against the chain, not yet told to anybody.

A user's control keys stand above its hosts' own, so a change of the user's is followed by one of its host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from keys import operation
from keys.errors import TrustError
from keys.history import History
from keys.keyfile import PrivateKey
from keys.lifecycle.keyring import Keyring
from keys.operation import MAX_CONTROL, Operation, SignedOperation
from keys.publickey import PublicKey


@dataclass(frozen=True)
class Party:
    """A user or a host as its hub knows it now. `kind` is "user" or "host".

    `foreign`: its newest operation is not the one that is known here.
    """

    kind: str
    id: str
    history: History
    foreign: bool = False


@dataclass(frozen=True)
class Draft:
    """One operation with the new keys that come with it, by part; `retire` are parts that go."""

    party: Party
    signed: SignedOperation
    keys: dict[str, PrivateKey] = field(default_factory=dict)
    retire: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The operations in their order, and what they do not reach."""

    drafts: tuple[Draft, ...]
    warnings: tuple[str, ...] = ()


Planner = Callable[[Party, Party, Keyring, datetime], Plan]
"""Makes a plan for a user and its host."""


def rotate(kind: str, *, control: bool) -> Planner:
    """A new signing key for "user" or "host", and where `control` a new control key."""

    def plan(user: Party, host: Party, ring: Keyring, now: datetime) -> Plan:
        party = user if kind == "user" else host
        own = ring.need(kind, "control")
        state = party.history.state
        if own.public not in state.control:
            raise TrustError(f"{ring.identities.path(kind, 'control')} is no control key of {party.id}")
        keys = {"private": PrivateKey.generate()}
        controls = state.control
        if control:
            keys["control"] = PrivateKey.generate()
            controls = tuple(keys["control"].public if key == own.public else key for key in controls)
        signed = _operation(party, "rotate", keys["private"].public, controls, [own, *keys.values()], now)
        draft = Draft(party, signed, keys)
        if kind == "host" or not control:
            return Plan((draft,))
        return _followed(draft, host, [own, keys["control"]], now)

    return plan


def add_recovery(recovery: PrivateKey) -> Planner:
    """The key `recovery` above the user's control key, at the user and at its host."""

    def plan(user: Party, host: Party, ring: Keyring, now: datetime) -> Plan:
        own = ring.need("user", "control")
        state = user.history.state
        if recovery.public in state.control:
            raise TrustError(f"this is a control key of {user.id} already")
        if own.public not in state.control:
            raise TrustError(f"{ring.identities.path('user', 'control')} is no control key of {user.id}")
        if len(state.control) == MAX_CONTROL:
            raise TrustError(f"{user.id} has {MAX_CONTROL} control keys, there can be no more")
        rank = state.control.index(own.public)
        controls = (*state.control[:rank], recovery.public, *state.control[rank:])
        action = "rotate" if state.signing else "revoke"
        signed = _operation(user, action, state.signing, controls, [own, recovery], now)
        return _followed(Draft(user, signed), host, [recovery, own], now)

    return plan


def revoke(kind: str) -> Planner:
    """No signing key for "user" or "host"; rotate gives it one again."""

    def plan(user: Party, host: Party, ring: Keyring, now: datetime) -> Plan:
        party = user if kind == "user" else host
        state = party.history.state
        if state.signing is None:
            raise TrustError(f"the signing key of {party.id} is revoked already")
        own = ring.find(kind, "control") or ring.need("user", "control")
        signed = _operation(party, "revoke", None, state.control, [own], now)
        return Plan((Draft(party, signed, retire=("private",)),))

    return plan


def recover(kind: str, higher: PrivateKey) -> Planner:
    """New keys for "user" or "host" by a control key above the stolen one; what is ranked below it goes."""

    def plan(user: Party, host: Party, ring: Keyring, now: datetime) -> Plan:
        party = user if kind == "user" else host
        state = party.history.state
        if higher.public not in state.control:
            raise TrustError(
                f"this key ({higher.public.fingerprint}) is no control key of {party.id}",
                "for a host: its user's control key or recovery key; for a user: its recovery key",
            )
        keys = {"private": PrivateKey.generate(), "control": PrivateKey.generate()}
        stay = state.control[: state.control.index(higher.public) + 1]
        if kind == "host":
            # The user's keys stay, also below a recovery key: they are not what was stolen here.
            stay = tuple(key for key in state.control if key in stay or key in user.history.state.control)
        controls = (*stay, keys["control"].public)
        signed = _operation(party, "recover", keys["private"].public, controls, [higher, *keys.values()], now)
        draft = Draft(party, signed, keys)
        if kind == "host":
            return Plan((draft,))
        old = ring.find("user", "control")
        return _followed(draft, host, [higher, keys["control"], *([old] if old else [])], now)

    return plan


def _followed(draft: Draft, host: Party, at_hand: Sequence[PrivateKey], now: datetime) -> Plan:
    """The plan of a change of the user's control keys, with the host's chain following it where it can.

    A host that somebody else changed meanwhile is recovered: it gets keys of its own again as well.
    """
    # Also those that a thief has put away at the user meanwhile: the host may obey them still.
    before = {key for state in draft.party.history.states for key in state.control}
    after = draft.signed.operation.control
    state = host.history.state
    ours = {key.public for key in at_hand}
    top = [key for key in after if key in state.control or key in ours]
    own = [key for key in state.control if key not in before and key not in after]
    keys: dict[str, PrivateKey] = {}
    if host.foreign:
        keys = {"private": PrivateKey.generate(), "control": PrivateKey.generate()}
        own = [keys["control"].public]
    wanted = (*top, *own)
    if wanted == state.control:
        return Plan((draft,))
    signers = [key for key in at_hand if key.public in state.control]
    new = [key for key in at_hand if key.public in wanted and key.public not in state.control]
    try:
        if not signers:
            raise TrustError("no control key of it is at hand")
        best = min(signers, key=lambda key: state.control.index(key.public))
        action = "recover" if keys else "rotate" if state.signing else "revoke"
        signing = keys["private"].public if keys else state.signing
        signed = _operation(host, action, signing, wanted, [best, *new, *keys.values()], now)
    except TrustError as error:
        text = f"{host.id} still obeys the control keys that {draft.party.id} had before: {error.message}"
        return Plan((draft,), (text,))
    return Plan((draft, Draft(host, signed, keys)))


def _operation(
    party: Party, action: str, signing: PublicKey | None, control: Sequence[PublicKey],
    signers: Sequence[PrivateKey], now: datetime,
) -> SignedOperation:  # fmt: skip
    """The next operation of `party`, refused here where the hub would refuse it."""
    state = party.history.state
    made = Operation(
        action=action, seq=state.seq + 1, time=now.replace(microsecond=0), signing=signing,
        control=tuple(control), prev=state.head,
    )  # fmt: skip
    signed = operation.sign(made, signers)
    party.history.with_next(signed)
    return signed
