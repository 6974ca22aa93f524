"""Where a gateway has its UPnP description: SSDP's search (UPnP Device Architecture 1.1, section 1.3).

Ours and not miniupnpc's, which reads whatever any device of the network offers, without a bound: here only
what the gateway itself answers counts, and only a description that it has itself.
"""

from __future__ import annotations

import re
import socket
import time
from urllib.parse import urlsplit

from lib.nat.errors import GatewayError
from lib.nat.gateway import Gateway

GROUP = ("239.255.255.250", 1900)
TARGETS = ("InternetGatewayDevice:1", "InternetGatewayDevice:2")
WAITS = (0.5, 1.5)
"""Seconds to wait after each search; devices answer within the one of MX."""
MOST = 200
"""Answers that are looked at: a network has that many devices, and not all of them answer."""
LONGEST = 2048
"""Bytes of an answer, which is one packet."""


def search(gateway: Gateway) -> str:
    """The URL of the gateway's description. Raises: GatewayError when it does not answer."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.bind((gateway.source, 0))
            source = socket.inet_aton(gateway.source)
            asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, source)
            asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
            left = MOST
            for wait in WAITS:
                for target in TARGETS:
                    asking.sendto(request(target), GROUP)
                until = time.monotonic() + wait
                while left and (rest := until - time.monotonic()) > 0:
                    asking.settimeout(rest)
                    try:
                        data, sender = asking.recvfrom(LONGEST)
                    except TimeoutError:
                        break
                    left -= 1
                    if sender[0] == gateway.address and (url := location(data, gateway.address)):
                        return url
    except OSError as error:
        raise GatewayError(f"the gateway cannot be searched: {error.strerror}") from error
    raise GatewayError("the gateway does not answer the search")


def request(target: str) -> bytes:
    """A search for devices of this kind."""
    return (
        "M-SEARCH * HTTP/1.1\r\n"
        f"HOST: {GROUP[0]}:{GROUP[1]}\r\n"
        'MAN: "ssdp:discover"\r\n'
        "MX: 1\r\n"
        f"ST: urn:schemas-upnp-org:device:{target}\r\n\r\n"
    ).encode()


def location(data: bytes, address: str) -> str:
    """The description that an answer names, when it is at `address` itself; otherwise empty."""
    text = data.decode("ascii", "replace")
    found = re.search(r"^location:[ \t]*(http://[!-~]{1,300}?)[ \t]*\r?$", text, re.IGNORECASE | re.MULTILINE)
    if not text.startswith("HTTP/1.1 200") or found is None:
        return ""
    try:
        return found[1] if urlsplit(found[1]).hostname == address else ""
    except ValueError:
        return ""
