"""keys/announcement.py: one spelling, the host's signature, the clock."""

from __future__ import annotations

import dataclasses
import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import announcement, note
from keys.announcement import Announcement
from keys.errors import TrustError
from keys.fields import encode
from keys.keyfile import PrivateKey

NOW = datetime(2026, 11, 20, tzinfo=UTC)
HOST = PrivateKey.generate()
GOOD = Announcement(
    id="host-7", genesis=encode(b"g" * 32), seq=12, addresses=("203.0.113.7:8043", "[2001:db8::1]:8043"),
    pin=encode(b"p" * 32), reachable=True, issued=NOW, expires=NOW + timedelta(minutes=30),
)  # fmt: skip


def test_its_text_is_the_one_of_the_documentation() -> None:
    assert announcement.sign(GOOD, HOST).splitlines()[:-1] == [
        "ampzero/announce/v1",
        "id: host-7",
        f"genesis: {encode(b'g' * 32)}",
        "seq: 12",
        "address: 203.0.113.7:8043",
        "address: [2001:db8::1]:8043",
        f"pin: sha256//{encode(b'p' * 32)}",
        "reachable: yes",
        "issued: 2026-11-20T00:00:00Z",
        "expires: 2026-11-20T00:30:00Z",
        "",
    ]


@pytest.mark.parametrize("reachable", [True, False, None])
@pytest.mark.parametrize("addresses", [(), GOOD.addresses])
def test_what_was_signed_is_read(reachable: bool | None, addresses: tuple[str, ...]) -> None:
    said = dataclasses.replace(GOOD, reachable=reachable, addresses=addresses)
    assert announcement.verify(announcement.sign(said, HOST), HOST.public, NOW) == said


def test_another_key_or_a_changed_text_is_refused() -> None:
    signed = announcement.sign(GOOD, HOST)
    with pytest.raises(TrustError, match="not signed"):
        announcement.verify(signed, PrivateKey.generate().public, NOW)
    with pytest.raises(TrustError, match="is wrong"):
        announcement.verify(signed.replace("seq: 12", "seq: 13"), HOST.public, NOW)
    other = str(note.sign(GOOD.text, [("ampzero/operation", HOST)]))
    with pytest.raises(TrustError, match="not signed"):
        announcement.verify(other, HOST.public, NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "user-7"},
        {"id": "host-07"},
        {"seq": 0},
        {"seq": 10**18},
        {"genesis": "x"},
        {"pin": encode(b"short")},
        {"addresses": ("203.0.113.7:8043",) * 2},
        {"addresses": tuple(f"203.0.113.7:{port}" for port in range(1, 10))},
        *(
            {"addresses": (wrong,)}
            for wrong in (
                "203.0.113.7", "203.0.113.7:0", "203.0.113.7:70000", "203.0.113.7:08043", "hub.example:80",
                "[203.0.113.7]:80", "2001:db8::1:8043", "[2001:DB8::1]:8043", "[2001:db8:0::1]:80",
                "[fe80::1%eth0]:80", "203.0.113.7:80\nseq: 1", "[::ffff:1.2.3.4%1]:80", "203.0.113.7:٣",
            )
        ),
    ],
)  # fmt: skip
def test_what_is_no_announcement_is_neither_signed_nor_read(change: dict[str, object]) -> None:
    wrong = dataclasses.replace(GOOD, **change)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(TrustError):
        announcement.sign(wrong, HOST)
    with pytest.raises(TrustError):
        announcement.verify(str(note.sign(wrong.text, [(announcement.SIGNER, HOST)])), HOST.public, NOW)


def test_the_clock() -> None:
    signed = announcement.sign(GOOD, HOST)
    for fine in (-5, 0, 30, 34):
        announcement.verify(signed, HOST.public, NOW + timedelta(minutes=fine))
    with pytest.raises(TrustError, match="from the future"):
        announcement.verify(signed, HOST.public, NOW - timedelta(minutes=5, seconds=1))
    with pytest.raises(TrustError, match="expired"):
        announcement.verify(signed, HOST.public, NOW + timedelta(minutes=35))
    for life in (timedelta(0), timedelta(hours=1, seconds=1), timedelta(days=9999)):
        long = dataclasses.replace(GOOD, expires=NOW + life)
        with pytest.raises(TrustError, match="an hour or less"):
            announcement.verify(announcement.sign(long, HOST), HOST.public, NOW)


@given(st.binary(max_size=5000))
def test_any_bytes(raw: bytes) -> None:
    with pytest.raises(TrustError):
        announcement.parse(raw)


@given(st.data())
def test_any_change_of_a_good_note_is_refused(data: st.DataObject) -> None:
    raw = announcement.sign(GOOD, HOST).encode()
    at = data.draw(st.integers(0, len(raw) - 1))
    piece = data.draw(st.binary(max_size=3))
    changed = raw[:at] + piece + raw[at + data.draw(st.integers(0, 3)) :]
    if changed != raw:
        with pytest.raises(TrustError):
            announcement.verify(changed, HOST.public, NOW)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_address_has_one_spelling(ip: ipaddress.IPv4Address, port: int) -> None:
    spelt = announcement.address(str(ip), port)
    host, again = announcement.parse_address(spelt)
    assert (ipaddress.ip_address(host), again) == (ip, port)


@given(st.text(max_size=80))
def test_any_text_as_an_address(value: str) -> None:
    try:
        host, port = announcement.parse_address(value)
    except TrustError:
        return
    assert announcement.address(host, port) == value
