"""One announcement by hand; a running instance announces by itself (keys/contact)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from keys import announcement, keyfile
from keys.announcement import Announcement
from keys.hubapi import Announced, HubApi
from keys.identities import load_identities
from keys.tls.certificate import key_digest, read_certificate


def announce_once(
    folder: Path, hub: HubApi, addresses: Sequence[str], minutes: int, passphrase: str
) -> Announced:
    """Announce `addresses` (as 203.0.113.7:8043) of the host whose key files are in `folder`.

    The pin is of the key in the certificate of the instance's nginx. The sequence is the time in seconds: it
    rises by itself.

    Raises: HeadError where a newer announcement is known; PassphraseError, MissingError, TrustError,
    UnreachableError, StorageError.
    """
    identities = load_identities(folder)
    key = keyfile.load(identities.path("host", "private"), passphrase)
    now = datetime.now(UTC).replace(microsecond=0)
    said = Announcement(
        id=identities.host_id, genesis=identities.host.genesis, seq=int(time.time()),
        addresses=tuple(addresses), pin=key_digest(read_certificate(folder.parent / "nginx/server.cert")),
        reachable=None, issued=now, expires=now + timedelta(minutes=minutes),
    )  # fmt: skip
    return hub.announce(identities.host_id, announcement.sign(said, key))
