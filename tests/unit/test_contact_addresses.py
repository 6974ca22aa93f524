"""What is announced, and which announced addresses may be dialled. Nothing is sent."""

from __future__ import annotations

import pytest

from keys.contact import addresses as module
from keys.contact.addresses import addresses, own_addresses, usable
from lib.nat.mapping import Mapping

MAPPED = Mapping("PCP", "5.5.5.5", 40000, 8043, 3600, True)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found = ["10.0.0.5", "2a00:1450:4001::5"]
    monkeypatch.setattr(module, "own_addresses", lambda hub="": found)
    return found


def test_the_mapping_first_then_public_ones_then_private_ones(own: list[str]) -> None:
    found = addresses(8043, near=False, mapping=MAPPED, observed="5.5.5.5")
    assert found == ("5.5.5.5:40000", "[2a00:1450:4001::5]:8043", "10.0.0.5:8043")


def test_without_a_mapping_where_the_hub_saw_us(own: list[str]) -> None:
    nothing = Mapping("UPnP", "100.64.0.9", 0, 8043, 0, False, "a second NAT")
    found = addresses(8043, near=False, mapping=nothing, observed="203.0.113.9")
    assert found == ("[2a00:1450:4001::5]:8043", "203.0.113.9:8043", "10.0.0.5:8043")


def test_beside_its_hub_the_loopback_alone(own: list[str]) -> None:
    found = addresses(8043, near=True, mapping=None, observed="127.0.0.1")
    assert found[0] == "127.0.0.1:8043"
    assert set(found) <= {"127.0.0.1:8043", "[::1]:8043"}


def test_our_own_addresses_are_none_of_the_loopback() -> None:
    for address in own_addresses():
        assert not address.startswith("127.") and address != "::1"


def test_an_announced_loopback_is_not_ours_to_dial() -> None:
    said = ["127.0.0.1:22", "[::1]:22", "[::ffff:127.0.0.1]:22", "0.0.0.0:22", "169.254.1.1:22",
            "224.0.0.1:22", "[fe80::1]:22", "203.0.113.7:8043", "10.0.0.5:8043"]  # fmt: skip
    assert usable(said, near=False) == ["203.0.113.7:8043", "10.0.0.5:8043"]
    assert usable(said, near=True) == said
    assert usable(said, near=False, ours=("10.0.0.5:8043",)) == ["203.0.113.7:8043"]
