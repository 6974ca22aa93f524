"""Who calls, as the contact process tells the node runtime: one header, with a signature.

    Ampzero-Caller: host-7 GENESIS user-23 GENESIS UNIX HEX

HEX is HMAC-SHA256 over what stands before it, by a secret of the instance's own. nginx sets the header; the
signature holds where a changed nginx.conf lets a browser's own header through, too.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from dataclasses import dataclass

HEADER = "Ampzero-Caller"
FROM = "Ampzero-From"
"""By which a caller says who it is; its certificate proves it."""
REFUSED = "Ampzero-Refused"
"""Why a call was refused, in one line."""
LIFETIME = 60
"""Seconds: from the judgement to the node's first look at the request."""
LONGEST = 400
_ID = r"[1-9][0-9]{0,17}"
HOST_ID = re.compile(rf"host-{_ID}", re.ASCII)
_DIGEST = r"[A-Za-z0-9+/]{43}="
_VALUE = re.compile(
    rf"(host-{_ID}) ({_DIGEST}) (user-{_ID}) ({_DIGEST}) ([0-9]{{1,12}}) ([0-9a-f]{{64}})", re.ASCII
)


@dataclass(frozen=True)
class Caller:
    """The instance that calls. Ids are of the hub that both sides use; a genesis is the digest of the first
    operation, and stays when keys and hubs change: compare that where it matters for ever."""

    id: str
    genesis: str
    owner: str
    owner_genesis: str


def write(caller: Caller, secret: bytes, now: float | None = None) -> str:
    """The header's value."""
    moment = int(time.time() if now is None else now)
    said = f"{caller.id} {caller.genesis} {caller.owner} {caller.owner_genesis} {moment}"
    return f"{said} {_mac(secret, said)}"


def read(value: str, secret: bytes, now: float | None = None) -> Caller | None:
    """The caller in a header's value; None where it is not signed with `secret`, or too old."""
    match = _VALUE.fullmatch(value) if len(value) <= LONGEST else None
    if match is None or not hmac.compare_digest(_mac(secret, value.rpartition(" ")[0]), match[6]):
        return None
    if abs((time.time() if now is None else now) - int(match[5])) > LIFETIME:
        return None
    return Caller(match[1], match[2], match[3], match[4])


def _mac(secret: bytes, said: str) -> str:
    return hmac.new(secret, said.encode(), hashlib.sha256).hexdigest()
