"""Under which addresses this instance may be reached, the best one first. Sends nothing."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress

from keys.announcement import MAX_ADDRESSES, address
from keys.errors import TrustError
from lib.nat.mapping import Mapping
from lib.ports import has_ipv6

FAR = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))
"""Addresses for documentation (RFC 5737, RFC 3849): the kernel is asked which own address leads there."""


def addresses(
    port: int, *, near: bool, mapping: Mapping | None, observed: str, hub: str = ""
) -> tuple[str, ...]:
    """What to announce for `port`, where amprun.yaml names nothing.

    `near`: the hub is on this machine, and so are all who ask there. `observed` is the address from which the
    hub saw us come; `hub` its host's name.
    """
    if near:
        found = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]
        return _spelt((host, port) for host in found)
    own = own_addresses(hub)
    public = [(host, port) for host in own if ipaddress.ip_address(host).is_global]
    private = [(host, port) for host in own if (host, port) not in public]
    mapped, seen = [], []
    if mapping is not None and mapping.external_port:
        mapped = [(mapping.external_address, mapping.external_port)]
    elif observed:
        # Somebody may have told the gateway by hand to lead this port here.
        seen = [(observed, port)]
    return _spelt([*mapped, *public, *seen, *private])


def own_addresses(hub: str = "") -> list[str]:
    """This machine's own addresses on the way to others, and to `hub`; those of the loopback are none."""
    targets = list(FAR)
    with suppress(OSError, UnicodeError):
        targets[:0] = [
            (str(found[4][0]), found[0])
            for found in (socket.getaddrinfo(hub, 443, type=socket.SOCK_DGRAM) if hub else [])
        ]
    own: dict[str, None] = {}
    for host, family in targets:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))
            found = str(probe.getsockname()[0])
            if not _is_of_no_use(found):
                own[found] = None
    return list(own)


def usable(said: Sequence[str], *, near: bool, ours: Container[str] = ()) -> list[str]:
    """Those of another's announced addresses that may be dialled.

    The loopback is ours, not another's, unless the hub is on this machine, too. So are `ours`: another
    network may have the same private addresses.
    """
    return [
        each
        for each in said
        if each not in ours and (near or not _is_of_no_use(each.rpartition(":")[0].strip("[]")))
    ]


def _is_of_no_use(host: str) -> bool:
    found = ipaddress.ip_address(host)
    mapped = getattr(found, "ipv4_mapped", None) or found
    return bool(mapped.is_loopback or mapped.is_unspecified or mapped.is_link_local or mapped.is_multicast)


def _spelt(found: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    spelt: dict[str, None] = {}
    for host, port in found:
        with suppress(TrustError):
            spelt[address(host, port)] = None
    return tuple(spelt)[:MAX_ADDRESSES]
