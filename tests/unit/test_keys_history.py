"""The file of a whole chain of operations: what is read back, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import history, operation
from keys.errors import TrustError
from keys.history import History
from keys.keyfile import PrivateKey
from keys.operation import Operation, SignedOperation

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def user(number: int = 3) -> tuple[History, PrivateKey]:
    """A user's chain of so many operations, each with a new signing key, and its control key."""
    control, signing = PrivateKey.generate(), PrivateKey.generate()
    first = Operation("register", 1, NOW, signing.public, (control.public,), kind="user")
    made = history.verified([operation.sign(first, [signing, control])])
    for seq in range(2, number + 1):
        signing = PrivateKey.generate()
        then = Operation("rotate", seq, NOW, signing.public, (control.public,), prev=made.state.head)
        made = made.with_next(operation.sign(then, [control, signing]))
    return made, control


def host(owner: SignedOperation, signing: PrivateKey, control: PrivateKey) -> History:
    """The chain of a host that this user's keys took."""
    key, own = PrivateKey.generate(), PrivateKey.generate()
    first = Operation("register", 1, NOW, key.public, (control.public, own.public), kind="host",
                      owner=owner.operation.digest)  # fmt: skip
    return history.verified([operation.sign(first, [key, control, own], owner=signing)])


def test_it_is_read_back() -> None:
    made, control = user()
    again = history.parse(str(made).encode())
    assert again == made
    assert [state.seq for state in again.states] == [1, 2, 3]
    assert all(control.public in again.signers(number) for number in range(3))
    assert again.has(made.states[0].head) and not again.has("")


def test_one_operation_is_the_note_itself() -> None:
    made, _ = user(1)
    assert str(made) == str(made.operations[0].note)


def test_a_beginning_and_its_continuation() -> None:
    long, _ = user(3)
    short = history.verified(long.operations[:2])
    assert long.begins_with(short) and long.begins_with(long)
    assert not short.begins_with(long) and not long.begins_with(user(2)[0])


def test_what_is_missing_swapped_or_doubled_is_refused() -> None:
    notes = [str(signed.note) for signed in user()[0].operations]
    wrong: list[list[str]] = [
        [], notes[1:], [notes[0], notes[2]], [notes[1], notes[0], notes[2]], [notes[0], notes[0]],
    ]  # fmt: skip
    for some in wrong:
        with pytest.raises(TrustError):
            history.parse(history.join(some))
    text = history.join(notes)
    with pytest.raises(TrustError):
        history.parse(text[:-1])
    with pytest.raises(TrustError):
        history.parse(text.replace("\n---\n", "\n"))
    for cut in range(0, len(text) - 1, 97):
        if text[:cut] not in (history.join(notes[:1]), history.join(notes[:2])):
            with pytest.raises(TrustError):
                history.parse(text[:cut])


@given(st.binary(max_size=400))
def test_garbage_is_refused(raw: bytes) -> None:
    with pytest.raises(TrustError):
        history.parse(raw)


def test_a_chain_without_an_end_is_refused() -> None:
    with pytest.raises(TrustError, match="more than"):
        history.parse(b"x" * (history.MAX_FILE + 1))
    with pytest.raises(TrustError, match="more than"):
        history.split("a\n---\n" * history.MAX_OPERATIONS)
    note = str(user(1)[0].operations[0].note)
    with pytest.raises(TrustError):
        history.verified([note] * 2000)


def test_the_state_in_which_an_owner_took_a_host() -> None:
    made, control = user(1)
    signing = PrivateKey.generate()
    then = Operation("rotate", 2, NOW, signing.public, (control.public,), prev=made.state.head)
    made = made.with_next(operation.sign(then, [control, signing]))
    newest = PrivateKey.generate()
    then = replace(then, seq=3, signing=newest.public, prev=made.state.head)
    made = made.with_next(operation.sign(then, [control, newest]))
    theirs = host(made.operations[0], signing, control)
    assert history.taken(theirs, made).seq == 2
    with pytest.raises(TrustError):
        history.taken(host(made.operations[0], PrivateKey.generate(), control), made)
    with pytest.raises(TrustError):
        history.taken(theirs, user(2)[0])
