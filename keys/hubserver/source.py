"""Where a request comes from: the connection's other end, or what a proxy that is trusted says of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lib.errors import UsageError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
FORWARDED = (b"x-forwarded-for", b"forwarded", b"x-real-ip", b"via")


@dataclass(frozen=True)
class Source:
    """`address` counts for limits. `direct` says that it is known to be the client's own, so that a
    dial-back to it reaches who asked and nobody else."""

    address: str
    direct: bool


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """The networks of `10.0.0.0/8` or `127.0.0.1`.

    Raises: UsageError.
    """
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError as error:
            raise UsageError(f"{text[:60]!r} is not a network", "as 127.0.0.1 or 10.0.0.0/8") from error
    return tuple(found)


def within(address: str, among: Sequence[Network]) -> bool:
    """Whether `address` lies in one of the networks `among`."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip.version == network.version and ip in network for network in among)


def source(client: str, headers: Iterable[tuple[bytes, bytes]], trusted: Sequence[Network]) -> Source:
    """The source of a request from `client`.

    Of X-Forwarded-For the last address counts that is no trusted proxy: what stands before it was written by
    somebody unknown. Behind a proxy that is not trusted nobody knows who asks.
    """
    client = plain(client)
    named = [value for name, value in headers if name in FORWARDED]
    if not trusted or not within(client, trusted):
        return Source(client, not named)
    chain = b",".join(value for name, value in headers if name == b"x-forwarded-for").decode("latin-1")
    for text in reversed(chain.split(",")[-16:]):
        address = plain(text.strip())
        if not address:
            break
        if not within(address, trusted):
            return Source(address, True)
    return Source(client, False)


def plain(text: str) -> str:
    """An address in its one spelling (an IPv4 address inside of IPv6 as itself), or "" for anything else."""
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ip)
