"""One announcement by hand; a running instance announces by itself (keys/contact)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from keys import announcement, keyfile
from keys.announcement import Announcement
from keys.fields import encode
from keys.hubapi import Announced, HubApi
from keys.identities import load_identities
from keys.tls.certificate import read_certificate


def announce_once(
    folder: Path, hub: HubApi, addresses: Sequence[str], minutes: int, passphrase: str = "",
    certificate: Path | None = None,
) -> Announced:  # fmt: skip
    """Announce `addresses` (as 203.0.113.7:8043) of the host whose key files are in `folder`.

    The pin is of the key in `certificate`, which is that of the instance's nginx where none is given. The
    sequence is the time in seconds: it rises by itself.

    Raises: HeadError where a newer announcement is known; PassphraseError, MissingError, TrustError,
    UnreachableError, StorageError.
    """
    identities = load_identities(folder)
    key = keyfile.load(identities.path("host", "private"), passphrase)
    now = datetime.now(UTC).replace(microsecond=0)
    said = Announcement(
        id=identities.host_id, genesis=identities.host.genesis, seq=int(time.time()),
        addresses=tuple(addresses), pin=pin_of(certificate or folder.parent / "nginx/server.cert"),
        reachable=None, issued=now, expires=now + timedelta(minutes=minutes),
    )  # fmt: skip
    return hub.announce(identities.host_id, announcement.sign(said, key))


def pin_of(certificate: Path) -> str:
    """The base64 SHA-256 of the SubjectPublicKeyInfo in `certificate` (PEM), as curl --pinnedpubkey has it.

    Raises: MissingError, TrustError, StorageError.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = read_certificate(certificate).public_key()
    return encode(hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest())
