"""Whether the address that a gateway has outside is one that the world can reach."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

from lib.nat.errors import GatewayError

SHARED = IPv4Network("100.64.0.0/10")
"""Between a provider's own NAT and its customers (RFC 6598)."""


def parse(text: str) -> IPv4Address | IPv6Address:
    """The address that `text` writes; an IPv4 one that is written as IPv6 is an IPv4 one.

    Raises: GatewayError.
    """
    try:
        address = ip_address(text)
    except ValueError as error:
        raise GatewayError(f"the gateway's external address is none: {text[:60]!r}") from error
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_public(text: str) -> bool:
    """Whether an address of our own is an IPv4 one that the world can reach. Behind no NAT, that is."""
    address = parse(text.split("%")[0])
    return isinstance(address, IPv4Address) and not judge(text)


def judge(text: str) -> str:
    """Why the world cannot reach this external address, in one line; empty when it can.

    Raises: GatewayError.
    """
    address = parse(text)
    if address.is_unspecified:
        return "double NAT, or no connection: the gateway names no address of its own outside"
    if isinstance(address, IPv4Address) and address in SHARED:
        return f"double NAT: the gateway's own address {address} is behind its provider's NAT (100.64.0.0/10)"
    if address.is_multicast or not address.is_global:
        return f"double NAT: the gateway's own address {address} is not a public one"
    return ""
