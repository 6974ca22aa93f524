from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import chain, note, operation
from keys.chain import State
from keys.errors import TrustError
from keys.keyfile import PrivateKey
from keys.operation import MAX_CONTROL, OWNER, SIGNER, Operation, SignedOperation

NOW = datetime(2026, 11, 20, tzinfo=UTC)
POOL = [PrivateKey.generate() for _ in range(14)]
BY_PUBLIC = {key.public: key for key in POOL}


def register(signing: PrivateKey, *control: PrivateKey, owner: str = "") -> Operation:
    return Operation(
        action="register", kind="host" if owner else "user", owner=owner, seq=1, time=NOW,
        signing=signing.public, control=tuple(key.public for key in control),
    )  # fmt: skip


def follow(
    state: State, signing: PrivateKey | None, *control: PrivateKey, action: str = "rotate"
) -> Operation:
    return Operation(
        action=action, seq=state.seq + 1, prev=state.head, time=NOW,
        signing=signing.public if signing else None, control=tuple(key.public for key in control),
    )  # fmt: skip


def test_the_text_of_a_first_operation() -> None:
    first = register(POOL[0], POOL[1])
    assert first.text == (
        "ampzero/operation/v1\naction: register\nkind: user\nseq: 1\nprev: none\ntime: 2026-11-20T00:00:00Z\n"
        f"signing: {POOL[0].public}\ncontrol: {POOL[1].public}\n"
    )
    again = operation.parse(str(operation.sign(first, POOL[:2]).note))
    assert again.operation == first
    assert chain.verify([again]) == State(
        first.digest, first.digest, 1, "user", "", POOL[0].public, (POOL[1].public,)
    )


def test_a_first_operation_needs_every_keys_signature() -> None:
    first = register(POOL[0], POOL[1], POOL[2])
    assert chain.verify([operation.sign(first, POOL[:3])]).seq == 1
    for missing in range(3):
        signers = [key for at, key in enumerate(POOL[:3]) if at != missing]
        with pytest.raises(TrustError, match="not signed by its new key"):
            chain.verify([operation.sign(first, signers)])


def three_ranks() -> State:
    return chain.verify([operation.sign(register(*POOL[:4]), POOL[:4])])


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_signer_changes_its_rank_and_those_below_only(rank: int) -> None:
    state = three_ranks()
    signer = POOL[1 + rank]
    for changed in range(3):
        control = list(POOL[1:4])
        control[changed] = POOL[5]
        signed = operation.sign(follow(state, POOL[0], *control), [signer, POOL[5]])
        if changed >= rank:
            assert chain.extend(state, signed).control[changed] == POOL[5].public
        else:
            with pytest.raises(TrustError, match=f"signed at rank {rank + 1} and changes a rank above"):
                chain.extend(state, signed)


def test_a_lower_rank_can_neither_insert_nor_remove_nor_reorder_above_itself() -> None:
    state = three_ranks()
    for control in ([5, 1, 2, 3], [2, 3], [3], [2, 1, 3], [1, 3, 2], [1, 3]):
        signed = operation.sign(follow(state, POOL[0], *(POOL[at] for at in control)), [POOL[3], POOL[5]])
        with pytest.raises(TrustError, match="changes a rank above"):
            chain.extend(state, signed)


def test_the_recovery_key_evicts_a_stolen_control_key() -> None:
    state = chain.verify([operation.sign(register(*POOL[:3]), POOL[:3])])
    thief = chain.extend(
        state, operation.sign(follow(state, POOL[6], POOL[1], POOL[7]), [POOL[2], *POOL[6:8]])
    )
    assert thief.signing == POOL[6].public
    back = follow(thief, POOL[8], POOL[1], POOL[9], action="recover")
    healed = chain.extend(thief, operation.sign(back, [POOL[1], POOL[8], POOL[9]]))
    assert healed.control == (POOL[1].public, POOL[9].public)
    later = follow(healed, POOL[6], POOL[1], POOL[7])
    with pytest.raises(TrustError, match="not signed by a control key"):
        chain.extend(healed, operation.sign(later, POOL[6:8]))


def test_a_signing_key_alone_changes_nothing() -> None:
    state = three_ranks()
    with pytest.raises(TrustError):
        chain.extend(state, operation.sign(follow(state, POOL[5], *POOL[1:4]), [POOL[0], POOL[5]]))


def test_new_keys_must_sign() -> None:
    state = three_ranks()
    for new in (follow(state, POOL[5], *POOL[1:4]), follow(state, POOL[0], *POOL[1:4], POOL[5])):
        with pytest.raises(TrustError, match="not signed by its new key"):
            chain.extend(state, operation.sign(new, [POOL[1]]))
        assert chain.extend(state, operation.sign(new, [POOL[1], POOL[5]])).seq == 2


def test_revoke_and_come_back() -> None:
    state = three_ranks()
    gone = chain.extend(state, operation.sign(follow(state, None, *POOL[1:4], action="revoke"), [POOL[3]]))
    assert gone.signing is None
    back = chain.extend(gone, operation.sign(follow(gone, POOL[5], *POOL[1:4]), [POOL[2], POOL[5]]))
    assert back.signing == POOL[5].public
    assert back.genesis == state.genesis


def test_prev_and_seq_and_action_must_follow() -> None:
    state = three_ranks()
    good = follow(state, POOL[0], *POOL[1:4])
    for wrong in (
        replace(good, seq=3), replace(good, seq=1), replace(good, prev=good.digest), replace(good, prev=""),
        register(*POOL[:4]), replace(good, action="register"), replace(good, kind="user"),
        replace(good, action="destroy"), replace(good, owner=state.genesis), replace(good, signing=None),
        replace(good, action="revoke"), replace(good, control=()),
        replace(good, control=good.control[:1] * 2),
        replace(good, control=tuple(key.public for key in POOL[1 : MAX_CONTROL + 2])),
        replace(good, signing=good.control[0]),
    ):  # fmt: skip
        signatures = note.sign(wrong.text, [(SIGNER, key) for key in POOL[:8]])
        with pytest.raises(TrustError):
            chain.extend(state, SignedOperation(wrong, signatures))
    with pytest.raises(TrustError, match="empty"):
        chain.verify([])
    with pytest.raises(TrustError, match="begins with register"):
        chain.verify([operation.sign(good, POOL[:4])])


def test_an_owner_takes_a_host() -> None:
    user = chain.verify([operation.sign(register(POOL[0], POOL[1]), POOL[:2])])
    host = register(POOL[2], POOL[1], POOL[3], owner=user.genesis)
    signers = [POOL[2], POOL[1], POOL[3]]
    chain.check_owner(operation.sign(host, signers, owner=POOL[0]), user)
    with pytest.raises(TrustError, match=f"not signed by {OWNER}"):
        chain.check_owner(operation.sign(host, signers), user)
    with pytest.raises(TrustError, match=f"not signed by {OWNER}"):
        chain.check_owner(operation.sign(host, signers, owner=POOL[1]), user)
    with pytest.raises(TrustError, match="another owner"):
        chain.check_owner(operation.sign(host, signers, owner=POOL[0]), replace(user, genesis=host.digest))
    with pytest.raises(TrustError, match="revoked"):
        chain.check_owner(operation.sign(host, signers, owner=POOL[0]), replace(user, signing=None))
    other = register(POOL[2], POOL[3], POOL[1], owner=user.genesis)
    with pytest.raises(TrustError, match="highest control key"):
        chain.check_owner(operation.sign(other, signers, owner=POOL[0]), user)


@given(st.data())
def test_random_chains_obey_the_rank_rule(data: st.DataObject) -> None:
    """Any change to ranks from the signer's down is accepted, any other is refused."""
    first = data.draw(st.lists(st.sampled_from(POOL), min_size=2, max_size=6, unique=True))
    signed = [operation.sign(register(*first), first)]
    state = chain.verify(signed)
    for _ in range(data.draw(st.integers(1, 4))):
        keys = data.draw(st.lists(st.sampled_from(POOL), min_size=2, max_size=6, unique=True))
        rank = data.draw(st.integers(0, len(state.control) - 1))
        lead = [BY_PUBLIC[public] for public in state.control[:rank]]
        if data.draw(st.booleans()):
            keys = [keys[0], *[key for key in [*lead, *keys[1:]] if key != keys[0]]][: MAX_CONTROL + 1]
            keys = list(dict.fromkeys(keys))
        if len(keys) < 2:
            continue
        candidate = follow(state, *keys)
        allowed_signers = [BY_PUBLIC[state.control[rank]], *keys]
        # A new key that is an old control key signs too and so may raise the rank.
        best = min(at for at, public in enumerate(state.control) if BY_PUBLIC[public] in allowed_signers)
        step = operation.sign(candidate, allowed_signers)
        if candidate.control[:best] == state.control[:best]:
            state = chain.extend(state, operation.parse(str(step.note)))
            signed.append(step)
        else:
            with pytest.raises(TrustError):
                chain.extend(state, step)
    assert chain.verify(signed) == state
    if len(signed) > 1:
        with pytest.raises(TrustError):
            chain.verify(signed[1:])
        with pytest.raises(TrustError):
            chain.verify([signed[0], *signed])
        assert chain.verify(signed[:-1]) != state


RAW = str(operation.sign(register(*POOL[:3]), POOL[:3]).note).encode()


@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_one_changed_byte_is_refused(place: int, change: int) -> None:
    raw = bytearray(RAW)
    raw[place] ^= change
    with pytest.raises(TrustError):
        chain.verify([operation.parse(bytes(raw))])


LINES = RAW.decode().partition("\n\n")[0].split("\n")


@given(
    st.lists(st.sampled_from([*LINES, "seq: 01", "control: none", "x: y", "", "owner: AA=="]), max_size=12)
)
def test_lines_in_another_order_are_refused(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    try:
        parsed = operation.parse(str(note.sign(text, [(SIGNER, POOL[0])])))
    except TrustError:
        return
    assert parsed.operation.text == text
