"""The packets of PCP and NAT-PMP: to the byte as in the RFCs, and nothing but answers is taken for one."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.nat import natpmp, pcp, ssdp
from lib.nat.errors import GatewayError

NONCE = bytes(range(12))
V4 = bytes.fromhex("00000000000000000000ffff")


def pcp_answer(*, result: int = 0, lifetime: int = 3600, nonce: bytes = NONCE, outer: int = 40000) -> bytes:
    head = struct.pack("!BBBBII12x", 2, 0x81, 0, result, lifetime, 77)
    return head + nonce + bytes([6, 0, 0, 0]) + struct.pack("!HH", 8043, outer) + V4 + bytes([5, 5, 5, 5])


def test_a_pcp_request_is_that_of_the_rfc() -> None:
    request = pcp.map_request("10.0.0.2", NONCE, 8043, 40000, 3600)
    # RFC 6887, figures 2 and 9: version, opcode, lifetime, our address; nonce, protocol, ports, address.
    assert request == (
        bytes([2, 1, 0, 0]) + struct.pack("!I", 3600) + V4 + bytes([10, 0, 0, 2])
        + NONCE + bytes([6, 0, 0, 0]) + struct.pack("!HH", 8043, 40000) + V4 + bytes(4)
    )  # fmt: skip
    assert len(request) == 60
    assert pcp.announce("10.0.0.2") == bytes([2, 0, 0, 0]) + bytes(4) + V4 + bytes([10, 0, 0, 2])


def test_a_pcp_request_by_ipv6_suggests_no_ipv4_address() -> None:
    request = pcp.map_request("2a00::2%eth0", NONCE, 8043, 8043, 60)
    assert request[8:24] == bytes.fromhex("2a00") + bytes(13) + b"\x02"
    assert request[44:60] == bytes(16)


def test_a_pcp_answer_is_read() -> None:
    answer = pcp.read_map(pcp_answer(), NONCE, 8043)
    assert answer == pcp.Answer(epoch=77, lifetime=3600, external_port=40000, external_address="5.5.5.5")
    assert pcp.read_announce(struct.pack("!BBBBII12x", 2, 0x80, 0, 0, 0, 5)) == pcp.Answer(epoch=5)


@pytest.mark.parametrize("changed", [
    pcp_answer(nonce=b"another nonce"[:12]),
    pcp_answer()[:-1],
    pcp_answer() + b"x",
    pcp_answer()[:24],
    b"\x02\x01" + pcp_answer()[2:],  # a request that came back
    b"\x03" + pcp_answer()[1:],
    pcp_answer() + bytes(1100),
    b"",
])  # fmt: skip
def test_what_is_no_answer_to_our_pcp_request_is_passed_over(changed: bytes) -> None:
    assert pcp.read_map(changed, NONCE, 8043) is None


def test_an_answer_for_another_port_is_passed_over_also_when_it_says_no() -> None:
    assert pcp.read_map(pcp_answer(result=8), NONCE, 8044) is None


@pytest.mark.parametrize("code", [2, 7, 8, 11, 200])
def test_a_pcp_gateway_that_says_no_is_an_error(code: int) -> None:
    with pytest.raises(GatewayError, match=pcp.RESULTS.get(code, "result 200")):
        pcp.read_map(pcp_answer(result=code), NONCE, 8043)


def test_a_gateway_with_nat_pmp_alone_says_so_at_once() -> None:
    with pytest.raises(GatewayError, match="NAT-PMP and not PCP"):
        pcp.read_announce(bytes([0, 0x80, 0, 1, 0, 0, 0, 9]))


def test_nat_pmp_requests_are_those_of_the_rfc() -> None:
    # RFC 6886, sections 3.2 and 3.3.
    assert natpmp.address_request() == b"\0\0"
    assert natpmp.map_request(8043, 40000, 3600) == b"\0\x02\0\0" + struct.pack("!HHI", 8043, 40000, 3600)


def test_nat_pmp_answers_are_read() -> None:
    outside = natpmp.read_address(struct.pack("!BBHI", 0, 128, 0, 9) + bytes([5, 5, 5, 5]))
    assert outside == natpmp.Outside(9, "5.5.5.5")
    mapped = natpmp.read_map(struct.pack("!BBHIHHI", 0, 130, 0, 9, 8043, 40000, 60), 8043)
    assert mapped == natpmp.Mapped(9, 40000, 60)


@pytest.mark.parametrize("data", [
    struct.pack("!BBHIHHI", 0, 130, 0, 9, 8044, 40000, 60),
    struct.pack("!BBHIHHI", 0, 129, 0, 9, 8043, 40000, 60),
    struct.pack("!BBHIHHI", 0, 130, 0, 9, 8043, 40000, 60)[:-1],
    struct.pack("!BBHIHHI", 0, 130, 0, 9, 8043, 40000, 60) + b"x",
    b"\0\x82\0",
])  # fmt: skip
def test_what_is_no_answer_to_our_nat_pmp_request_is_passed_over(data: bytes) -> None:
    assert natpmp.read_map(data, 8043) is None


def test_a_nat_pmp_gateway_that_says_no_is_an_error() -> None:
    with pytest.raises(GatewayError, match="does not allow this"):
        natpmp.read_map(struct.pack("!BBHI", 0, 130, 2, 9), 8043)


READERS: list[Callable[[bytes], object]] = [
    pcp.read_announce,
    lambda data: pcp.read_map(data, NONCE, 8043),
    natpmp.read_address,
    lambda data: natpmp.read_map(data, 8043),
]
STARTS = st.sampled_from([b"", b"\x02\x80\0\0", b"\x02\x81\0\0", b"\0\x80\0\0", b"\0\x82\0\0"])


@pytest.mark.parametrize("read", READERS)
@given(start=STARTS, rest=st.binary(max_size=1200))
def test_any_bytes_are_an_answer_or_none_or_a_refusal(
    read: Callable[[bytes], object], start: bytes, rest: bytes
) -> None:
    try:
        read(start + rest)
    except GatewayError as error:
        assert "\n" not in error.message


@given(position=st.integers(0, 59), value=st.integers(0, 255))
def test_one_changed_byte_of_a_pcp_answer_never_names_another_request(position: int, value: int) -> None:
    data = bytearray(pcp_answer())
    data[position] = value
    try:
        answer = pcp.read_map(bytes(data), NONCE, 8043)
    except GatewayError:
        return
    if answer is not None and 24 <= position < 42 and position not in (37, 38, 39):
        assert data == pcp_answer()


SSDP = b"HTTP/1.1 200 OK\r\nST: urn:x\r\nLocation: http://10.0.0.1:5000/d.xml \r\nUSN: uuid:1\r\n\r\n"


def test_a_search_is_that_of_the_standard() -> None:
    first, *lines = ssdp.request("InternetGatewayDevice:1").decode().split("\r\n")
    assert first == "M-SEARCH * HTTP/1.1"
    assert 'MAN: "ssdp:discover"' in lines
    assert lines[-2:] == ["", ""]


def test_the_gateways_description_is_found() -> None:
    assert ssdp.location(SSDP, "10.0.0.1") == "http://10.0.0.1:5000/d.xml"


@pytest.mark.parametrize("changed", [
    SSDP.replace(b"10.0.0.1", b"10.0.0.2"),  # somebody else's
    SSDP.replace(b"http:", b"file:"),
    SSDP.replace(b"http://", b"http://10.0.0.1@evil.example/"),
    SSDP.replace(b"200", b"404"),
    SSDP.replace(b"d.xml", b"x" * 400),
    SSDP.replace(b"d.xml", b"\xff"),
    SSDP.replace(b"10.0.0.1:", b"[:"),
    b"NOTIFY * HTTP/1.1\r\nLocation: http://10.0.0.1/\r\n\r\n",
])  # fmt: skip
def test_any_other_description_is_passed_over(changed: bytes) -> None:
    assert ssdp.location(changed, "10.0.0.1") == ""


@given(st.binary(max_size=400))
def test_any_answer_to_a_search_is_read(rest: bytes) -> None:
    for start in (b"", b"HTTP/1.1 200 OK\r\nLocation: http://"):
        found = ssdp.location(start + rest, "10.0.0.1")
        assert found == "" or found.startswith("http://")
