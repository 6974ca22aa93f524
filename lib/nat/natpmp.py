"""The packets of NAT-PMP (RFC 6886): what is sent to a gateway, and what its answers say. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from lib.nat.errors import GatewayError

VERSION = 0
ADDRESS, MAP_TCP = 0, 2

RESULTS = {
    1: "it does not speak this version of NAT-PMP", 2: "it does not allow this",
    3: "it has no connection outside", 4: "it has no room for more mappings",
    5: "it does not know this request",
}  # fmt: skip
"""Result codes (section 3.5), as a person reads them."""

ADDRESS_ANSWER = struct.Struct("!BBHI4s")
MAP_REQUEST = struct.Struct("!BB2xHHI")
MAP_ANSWER = struct.Struct("!BBHIHHI")


@dataclass(frozen=True)
class Outside:
    """What a gateway says of itself: its external address, and since when it has known its mappings."""

    epoch: int
    address: str


@dataclass(frozen=True)
class Mapped:
    """A mapping that a gateway has made, for `lifetime` seconds."""

    epoch: int
    external_port: int
    lifetime: int


def address_request() -> bytes:
    """The question for the external address (section 3.2)."""
    return bytes([VERSION, ADDRESS])


def map_request(port: int, suggested: int, lifetime: int) -> bytes:
    """The request for a TCP mapping of our `port`; lifetime 0 removes it (sections 3.3 and 3.4)."""
    return MAP_REQUEST.pack(VERSION, MAP_TCP, port, suggested, lifetime)


def read_address(data: bytes) -> Outside | None:
    """The answer to `address_request`; None where these bytes are none.

    Raises: GatewayError when the gateway says no.
    """
    if not _is_good(data, ADDRESS, ADDRESS_ANSWER.size):
        return None
    _, _, _, epoch, address = ADDRESS_ANSWER.unpack(data)
    return Outside(epoch, str(IPv4Address(address)))


def read_map(data: bytes, port: int) -> Mapped | None:
    """The answer to a `map_request` for `port`; None where these bytes are none, or answer another one.

    Raises: GatewayError when the gateway says no.
    """
    if not _is_good(data, MAP_TCP, MAP_ANSWER.size):
        return None
    _, _, _, epoch, inner, outer, lifetime = MAP_ANSWER.unpack(data)
    return Mapped(epoch, outer, lifetime) if inner == port else None


def _is_good(data: bytes, opcode: int, size: int) -> bool:
    if len(data) < 4 or len(data) > size:
        return False
    version, kind, result = struct.unpack_from("!BBH", data)
    if version != VERSION or kind != 0x80 | opcode:
        return False
    if result:
        raise GatewayError(RESULTS.get(result, f"result {result}"))
    return len(data) == size
