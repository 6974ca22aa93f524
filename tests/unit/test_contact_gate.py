"""Who may call: the key of the certificate is the one that the claimed host announces, or nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
from contact_support import Clock, Party, local_hub, make_party
from hypothesis import given
from hypothesis import strategies as st

from keys.contact.gate import LONGEST, Gate, pin_of
from keys.contact.resolver import FRESH, RETRY, Resolver
from keys.hub import LocalHub
from lib.errors import MissingError, RefusedError


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hub(tmp_path: Path, clock: Clock) -> LocalHub:
    return local_hub(tmp_path, clock)


@pytest.fixture
def caller(tmp_path: Path, hub: LocalHub, clock: Clock) -> Party:
    party = make_party(tmp_path, hub, clock, "caller")
    party.announcer(hub).step()
    return party


@pytest.fixture
def gate(hub: LocalHub, clock: Clock) -> Gate:
    return Gate(Resolver(lambda: hub, now=clock.now, clock=clock.monotonic))


def test_the_announced_key_opens(gate: Gate, caller: Party) -> None:
    assert gate.judge(caller.id, caller.escaped()).id == caller.id


def test_another_key_does_not(gate: Gate, caller: Party, tmp_path: Path, hub: LocalHub, clock: Clock) -> None:
    thief = make_party(tmp_path, hub, clock, "thief")
    with pytest.raises(RefusedError, match=f"not of the key that {caller.id} announces"):
        gate.judge(caller.id, thief.escaped())
    with pytest.raises(MissingError):  # as itself: it announces nothing
        gate.judge(thief.id, thief.escaped())
    thief.announcer(hub).step()
    clock.pass_by(RETRY + 1)
    assert gate.judge(thief.id, thief.escaped()).id == thief.id
    with pytest.raises(RefusedError):
        gate.judge(caller.id, thief.escaped())


def test_a_changed_key_is_refused_until_it_is_announced(
    gate: Gate, caller: Party, hub: LocalHub, clock: Clock
) -> None:
    before = caller.escaped()
    assert gate.judge(caller.id, before)
    caller.new_leaf()
    clock.pass_by(RETRY + 1)
    with pytest.raises(RefusedError):
        gate.judge(caller.id, caller.escaped())
    announcer = caller.announcer(hub)
    announcer.step()
    clock.pass_by(RETRY + 1)
    assert gate.judge(caller.id, caller.escaped())
    with pytest.raises(RefusedError):
        gate.judge(caller.id, before)


def test_revoked_keys_open_nothing(gate: Gate, caller: Party, hub: LocalHub, clock: Clock) -> None:
    assert gate.judge(caller.id, caller.escaped())
    caller.operate(hub, "revoke")
    clock.pass_by(FRESH + 1)
    with pytest.raises(RefusedError, match="revoked"):
        gate.judge(caller.id, caller.escaped())


@pytest.mark.parametrize(
    "claimed", ["", "user-1", "host-0", "host-1 ", "host-1\n", "host-" + "9" * 40, "../x"]
)
def test_who_says_nothing_of_use(gate: Gate, caller: Party, claimed: str) -> None:
    with pytest.raises(RefusedError, match="Ampzero-From"):
        gate.judge(claimed, caller.escaped())


BROKEN = "-----BEGIN%20CERTIFICATE-----%0Aaaaa%0A-----END%20CERTIFICATE-----%0A"


@pytest.mark.parametrize("shown", ["", "x", "%", "%ff%fe", "x" * (LONGEST + 1), BROKEN])
def test_what_is_no_certificate(gate: Gate, caller: Party, shown: str) -> None:
    with pytest.raises(RefusedError, match="certificate"):
        gate.judge(caller.id, shown)


@given(st.text(max_size=300))
def test_certificates_of_any_letters(shown: str) -> None:
    with pytest.raises(RefusedError):
        pin_of(shown)


@given(st.binary(max_size=300))
def test_certificates_of_any_bytes(shown: bytes) -> None:
    import base64
    from urllib.parse import quote

    text = f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(shown).decode()}\n-----END CERTIFICATE-----\n"
    with pytest.raises(RefusedError):
        pin_of(quote(text))
