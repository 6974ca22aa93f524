"""Which routers lead outside: the default routes of this machine, as the kernel lists them. Sends nothing."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from lib.nat.pcp import PORT

ROUTES = Path("/proc/net")
"""Where `route` and `ipv6_route` are (proc(5)); there is none on macOS."""
LONGEST = 4_000_000
"""Characters that are read of a table of routes: some 30,000 routes, and a default one comes early."""
UP, VIA = 0x1, 0x2
"""RTF_UP and RTF_GATEWAY of linux/route.h."""
ANYWHERE6 = "2000::1"
"""An address of the public range; looking up which of ours we would send from sends nothing."""


WAITS = (0.25, 0.5, 1.0, 2.0)
"""Seconds to wait after each sending (RFC 6886, section 3.1, which goes on: we ask again later)."""


@dataclass(frozen=True)
class Gateway:
    """A router and our own address towards it; an IPv6 one may carry its interface, as in fe80::1%eth0.

    `description` is the URL of its UPnP description where it is known already; otherwise it is searched.
    `waits` are the seconds that an answer by UDP may take, a question is asked again after each.
    """

    address: str
    source: str
    interface: str = ""
    port: int = PORT
    description: str = ""
    waits: tuple[float, ...] = WAITS

    @property
    def is_ipv6(self) -> bool:
        """Whether it is reached by IPv6."""
        return ":" in self.address


@dataclass(frozen=True, order=True)
class Route:
    """A default route; the smallest metric is the one that is used."""

    metric: int
    interface: str
    address: str


def gateways(folder: Path = ROUTES) -> list[Gateway]:
    """The routers of the default routes: IPv4 ones first, the one that is used first among them."""
    routes = [*sorted(routes4(_text(folder / "route"))), *sorted(routes6(_text(folder / "ipv6_route")))]
    found: dict[str, Gateway] = {}
    for route in routes:
        if route.address not in found and (source := _source(route)):
            found[route.address] = Gateway(route.address, source, route.interface)
    return list(found.values())


def _text(path: Path) -> str:
    try:
        with path.open() as stream:
            return stream.read(LONGEST)
    except (OSError, UnicodeDecodeError):
        return ""


def routes4(text: str) -> Iterator[Route]:
    """Columns: interface, destination, gateway, flags, refcnt, use, metric, mask; hex in the host's order."""
    for line in text.splitlines()[1:]:
        cells = line.split()
        if len(cells) < 8 or not re.fullmatch("[0-9A-Fa-f]{8}", cells[2]) or not cells[6].isdecimal():
            continue
        if (cells[1], cells[7]) == ("00000000", "00000000") and _leads_out(cells[3]):
            address = IPv4Address(struct.pack("=I", int(cells[2], 16)))
            yield Route(int(cells[6]), cells[0], str(address))


def routes6(text: str) -> Iterator[Route]:
    """Columns: destination, length, source, length, next hop, metric, refcnt, use, flags, interface."""
    for line in text.splitlines():
        cells = line.split()
        if len(cells) < 10 or not re.fullmatch("[0-9A-Fa-f]{32}", cells[4]):
            continue
        if not re.fullmatch("[0-9A-Fa-f]{1,8}", cells[5]):
            continue
        if (cells[0].strip("0"), cells[1]) == ("", "00") and _leads_out(cells[8]):
            address = IPv6Address(int(cells[4], 16))
            scope = f"%{cells[9]}" if address.is_link_local else ""
            yield Route(int(cells[5], 16), cells[9], f"{address}{scope}")


def _leads_out(flags: str) -> bool:
    try:
        return int(flags, 16) & (UP | VIA) == UP | VIA
    except ValueError:
        return False


def _source(route: Route) -> str:
    """Our own address for what goes by this route; empty when there is none. Connecting UDP sends nothing."""
    is_ipv6 = ":" in route.address
    target = ANYWHERE6 if is_ipv6 else route.address
    try:
        with socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((target, PORT))
            return str(probe.getsockname()[0])
    except OSError:
        return ""
