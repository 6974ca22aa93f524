"""The packets of PCP (RFC 6887): what is sent to a gateway, and what its answers say. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from lib.nat.errors import GatewayError

VERSION = 2
PORT = 5351
"""Gateways listen there (section 19.1), for NAT-PMP as well."""
LONGEST = 1100
"""Bytes of the longest packet (section 7)."""
ANNOUNCE, MAP = 0, 1
TCP, UDP = 6, 17
NONCE_BYTES = 12
UNSUPPORTED_VERSION = 1

RESULTS = {
    1: "it does not speak this version of PCP", 2: "it does not allow this", 3: "the request was malformed",
    4: "it does not know this request", 5: "it does not know this option", 6: "the option was malformed",
    7: "it has no connection outside", 8: "it has no room for more mappings",
    9: "it does not map this protocol", 10: "it lets us have no more mappings",
    11: "it cannot give this external port", 12: "another NAT stands between us and it",
    13: "too many remote peers",
}  # fmt: skip
"""Result codes (section 7.4), as a person reads them."""

HEADER = struct.Struct("!BBHI16s")
ANSWER = struct.Struct("!BBBBII12x")
MAPPING = struct.Struct("!12sB3xHH16s")


@dataclass(frozen=True)
class Answer:
    """An answer to ANNOUNCE or MAP; the fields from `lifetime` on are those of MAP."""

    epoch: int
    lifetime: int = 0
    external_port: int = 0
    external_address: str = ""


def announce(client: str) -> bytes:
    """The request that changes nothing: the gateway answers with its epoch (section 14.1)."""
    return HEADER.pack(VERSION, ANNOUNCE, 0, 0, _packed(client))


def map_request(
    client: str, nonce: bytes, port: int, suggested: int, lifetime: int, protocol: int = TCP
) -> bytes:
    """The request for a mapping of `port` on `client`, our own address; lifetime 0 removes it."""
    anything = "::" if ip_address(client.split("%")[0]).version == 6 else "0.0.0.0"  # noqa: S104 -- no listener
    head = HEADER.pack(VERSION, MAP, 0, lifetime, _packed(client))
    return head + MAPPING.pack(nonce, protocol, port, suggested, _packed(anything))


def read_announce(data: bytes) -> Answer | None:
    """The answer to `announce`; None where these bytes are none.

    Raises: GatewayError when the gateway says no.
    """
    answer = _read(data, ANNOUNCE)
    return None if answer is None else Answer(epoch=answer[1])


def read_map(data: bytes, nonce: bytes, port: int, protocol: int = TCP) -> Answer | None:
    """The answer to that `map_request`; None where these bytes are none, or answer another one.

    Raises: GatewayError when the gateway says no.
    """
    whole = len(data) >= ANSWER.size + MAPPING.size
    if whole:
        got, kind, inner, outer, address = MAPPING.unpack_from(data, ANSWER.size)
        if (got, kind, inner) != (nonce, protocol, port):
            return None
    answer = _read(data, MAP)
    if answer is None or not whole:
        return None
    lifetime, epoch = answer
    external = IPv6Address(address)
    return Answer(epoch, lifetime, outer, str(external.ipv4_mapped or external))


def _read(data: bytes, opcode: int) -> tuple[int, int] | None:
    """Lifetime and epoch of a good answer to a request of this kind."""
    if not 4 <= len(data) <= LONGEST:
        return None
    version, kind, _, result = struct.unpack_from("!BBBB", data)
    if version != VERSION:
        # NAT-PMP says it with a version of 0 and its own, longer result (appendix A).
        if version == 0 and data[2:4] == bytes([0, UNSUPPORTED_VERSION]):
            raise GatewayError("it speaks NAT-PMP and not PCP")
        return None
    if kind != 0x80 | opcode or len(data) < ANSWER.size or len(data) % 4:
        return None
    _, _, _, result, lifetime, epoch = ANSWER.unpack_from(data)
    if result:
        raise GatewayError(RESULTS.get(result, f"result {result}"))
    return lifetime, epoch


def _packed(address: str) -> bytes:
    """16 bytes; an IPv4 address is written as an IPv6 one (section 5)."""
    found = ip_address(address.split("%")[0])
    if isinstance(found, IPv4Address):
        found = IPv6Address(b"\0" * 10 + b"\xff\xff" + found.packed)
    return found.packed
