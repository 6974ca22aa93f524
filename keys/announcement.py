"""Where a host is just now: a note signed by the host's key, which the hub keeps and cannot change.

ampzero/announce/v1
id: host-7
genesis: <digest of the host's first operation>
seq: 12                         (rising)
address: 203.0.113.7:8043       (none to eight, the best one first; IPv6 as [2001:db8::1]:8043)
pin: sha256//<base64>           (SHA-256 of the TLS key's SubjectPublicKeyInfo; curl --pinnedpubkey)
reachable: yes                  (or no, or unknown: what the host itself knows)
issued: 2026-11-20T00:00:00Z
expires: 2026-11-20T00:30:00Z   (at most an hour ahead, which is what a thief of the key can leave behind)

— ampzero/host <signature>
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from keys import note
from keys.errors import TrustError
from keys.fields import (
    SKEW,
    Reader,
    canonical,
    moment,
    parse_digest,
    parse_id,
    parse_moment,
    parse_number,
    render,
)
from keys.publickey import PublicKey

TITLE = "ampzero/announce/v1"
SIGNER = "ampzero/host"
PREFIX = "sha256//"
MAX_ADDRESSES = 8
MAX_LIFETIME = timedelta(hours=1)
_REACHABLE: dict[str, bool | None] = {"yes": True, "no": False, "unknown": None}
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)


@dataclass(frozen=True)
class Announcement:
    """What the host says; `pin` is a bare base64 digest, `addresses` are as `address` spells them."""

    id: str
    genesis: str
    seq: int
    addresses: tuple[str, ...]
    pin: str
    reachable: bool | None
    issued: datetime
    expires: datetime

    @property
    def text(self) -> str:
        """What the host signs."""
        return render(
            TITLE,
            [
                ("id", self.id),
                ("genesis", self.genesis),
                ("seq", str(self.seq)),
                *(("address", address) for address in self.addresses),
                ("pin", PREFIX + self.pin),
                ("reachable", next(word for word, value in _REACHABLE.items() if value is self.reachable)),
                ("issued", moment(self.issued)),
                ("expires", moment(self.expires)),
            ],
        )

    def check(self, now: datetime) -> None:
        """Whether it holds at `now`, by a clock that may be SKEW off.

        Raises: TrustError.
        """
        if now >= self.expires + SKEW:
            raise TrustError(f"the announcement of {self.id} expired at {moment(self.expires)}")
        if self.issued > now + SKEW:
            raise TrustError(
                f"the announcement of {self.id} is from the future ({moment(self.issued)})",
                "is a clock wrong?",
            )
        if not self.issued < self.expires <= self.issued + MAX_LIFETIME:
            raise TrustError(f"the announcement of {self.id} is not for an hour or less")


def address(host: str, port: int) -> str:
    """The canonical spelling of an IP address and a port: 203.0.113.7:8043 or [2001:db8::1]:8043.

    Raises: TrustError.
    """
    try:
        ip = ipaddress.ip_address(host)
    except ValueError as error:
        raise TrustError(f"not an IP address: {host[:60]!r}") from error
    if not 1 <= port <= 65535:
        raise TrustError(f"not a port: {port}")
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id:
            raise TrustError(f"an address of this machine's own links: {host[:60]!r}")
        return f"[{ip}]:{port}"
    return f"{ip}:{port}"


def parse_address(value: str) -> tuple[str, int]:
    """The IP address and the port of what `address` wrote.

    Raises: TrustError.
    """
    host, _, port = value.rpartition(":")
    if not _PORT.fullmatch(port) or len(value) > 60:
        raise TrustError(f"not an address with a port: {value[:60]!r}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if address(host, int(port)) != value:
        raise TrustError(f"not an address in its canonical spelling: {value[:60]!r}")
    return host, int(port)


def sign(announcement: Announcement, host: note.SigningKey) -> str:
    """The note, signed by the host's signing key; `parse` reads just what may be signed.

    Raises: TrustError.
    """
    signed = str(note.sign(announcement.text, [(SIGNER, host)]))
    parse(signed)
    return signed


def parse(raw: bytes | str) -> tuple[Announcement, note.Note]:
    """Take an announcement apart without believing it.

    Raises: TrustError.
    """
    envelope = note.parse(raw)
    reader = Reader(TITLE, envelope.text)
    id, genesis, seq = reader.one("id"), reader.one("genesis"), reader.one("seq")
    addresses = []
    while value := reader.optional("address"):
        addresses.append(value)
    pin, reachable = reader.one("pin"), reader.one("reachable")
    if len(addresses) > MAX_ADDRESSES or len(set(addresses)) != len(addresses):
        raise TrustError(f"{TITLE}: more than {MAX_ADDRESSES} addresses, or one of them twice")
    for value in addresses:
        parse_address(value)
    if reachable not in _REACHABLE:
        raise TrustError(f"{TITLE}: reachable is yes, no or unknown, not {reachable[:40]!r}")
    announcement = Announcement(
        id=parse_id(id),
        genesis=parse_digest(genesis),
        seq=parse_number(seq),
        addresses=tuple(addresses),
        pin=parse_digest(pin.removeprefix(PREFIX)),
        reachable=_REACHABLE[reachable],
        issued=parse_moment(reader.one("issued")),
        expires=parse_moment(reader.one("expires")),
    )
    reader.end()
    canonical(TITLE, envelope.text, announcement.text)
    if not id.startswith("host-") or announcement.seq < 1:
        raise TrustError(f"{TITLE}: hosts announce, with a seq from 1")
    return announcement, envelope


def verify(raw: bytes | str, host: PublicKey, now: datetime) -> Announcement:
    """The announcement in `raw`, signed by `host` and holding at `now`. Compare its id and genesis yourself.

    Raises: TrustError.
    """
    announcement, envelope = parse(raw)
    envelope.verify([note.Verifier(SIGNER, host)])
    announcement.check(now)
    return announcement
