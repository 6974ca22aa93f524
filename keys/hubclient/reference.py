"""URL#FINGERPRINT: what a hub's operator prints and a user pastes. Trust in a hub begins here.

The fingerprint is the SHA-256 of the text of the hub's root note, version 1, in unpadded base64url.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from keys.root import Root
from lib.errors import UsageError

FINGERPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
URL = re.compile(r"https?://[!-~]{1,500}")
HINT = "as https://hub.example#FINGERPRINT: what `ampzero hub serve` prints; ask its operator"


@dataclass(frozen=True)
class Reference:
    """Where a hub is, and what its first root note must be. `url` has no slash at its end."""

    url: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.url}#{self.fingerprint}"


def fingerprint(root: Root) -> str:
    """The fingerprint of a root; of use for version 1 only."""
    digest = hashlib.sha256(root.text.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def parse_reference(text: str) -> Reference:
    """The reference in `text`.

    Raises: UsageError.
    """
    url, mark, digest = text.strip().partition("#")
    if not mark or not digest:
        raise UsageError(f"{url[:80]!r}: the hub's fingerprint is missing", HINT)
    if not FINGERPRINT.fullmatch(digest):
        raise UsageError(f"{digest[:60]!r} is not a hub's fingerprint", HINT)
    return Reference(check_url(url), digest)


def check_url(url: str) -> str:
    """`url` without a slash at its end, when a hub can be there: https, or http on the loopback.

    Raises: UsageError.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise UsageError(f"{url[:80]!r} is not a URL", HINT) from error
    if not URL.fullmatch(url) or not host or port == 0 or parts.query or parts.fragment:
        raise UsageError(f"{url[:80]!r} is not a hub's URL", HINT)
    if parts.username is not None or parts.password is not None:
        raise UsageError("a hub's URL has no user name in it", HINT)
    if parts.scheme == "http" and not is_loopback(host):
        raise UsageError(
            f"{url[:80]!r}: http only for a hub on this machine",
            "use https; see docs/hub.md for certificates",
        )
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine and can be nothing else."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
