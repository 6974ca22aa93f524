"""Which external ports are asked for, and that they are ports."""

from __future__ import annotations

from hashlib import sha256

from lib.nat.errors import GatewayError

OTHERS = 10
"""How many other ports are tried where the wanted one is taken."""
FIRST, LAST = 49152, 65535
"""The others are dynamic ports (RFC 6335, section 6): nobody has a name for them."""


def check(port: int) -> int:
    """`port`, seen to be one: gateways take 0 for any and 70000 for 4464.

    Raises: GatewayError.
    """
    if not 1 <= port <= 65535:
        raise GatewayError(f"{port} is not a port: 1 to 65535")
    return port


def candidates(host_id: str, wanted: int) -> list[int]:
    """The ports to ask for: the wanted one, then others that are the same at every start of this host."""
    others: list[int] = []
    count = 0
    while len(others) < OTHERS:
        digest = sha256(f"{host_id}/{count}".encode()).digest()
        port = FIRST + int.from_bytes(digest[:4], "big") % (LAST - FIRST + 1)
        if port != wanted and port not in others:
            others.append(port)
        count += 1
    return [wanted, *others]
