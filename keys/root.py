"""A hub's root note: who it is, and which keys speak for it. The file `hub.public.key`.

    ampzero/hub/v1
    version: 1
    origin: local.k3nq…         (the hub's name; its online key signs as ORIGIN/keys)
    url: none                   (https://… where it is a server)
    online: ssh-ed25519 AAAA…
    root: ssh-ed25519 AAAA…     (one to five; they sign as ORIGIN/root)
    threshold: 1
    issued: 2026-11-20T00:00:00Z

Version n+1 is signed by `threshold` root keys of version n and of version n+1, as in TUF.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from keys import note
from keys.errors import TrustError
from keys.fields import Reader, canonical, moment, parse_moment, parse_number, parse_origin, render
from keys.publickey import PublicKey
from keys.statement import online_name

TITLE = "ampzero/hub/v1"
MAX_ROOTS = 5
NO_URL = "none"
"""Of the hub inside this program."""
_URL = re.compile(rf"{NO_URL}|https?://[!-~]{{1,500}}")


@dataclass(frozen=True)
class Root:
    """One version of a hub's root; `url` is NO_URL for the hub inside this program."""

    version: int
    origin: str
    url: str
    online: PublicKey
    roots: tuple[PublicKey, ...]
    threshold: int
    issued: datetime

    @property
    def text(self) -> str:
        """What the root keys sign."""
        return render(
            TITLE,
            [
                ("version", str(self.version)),
                ("origin", self.origin),
                ("url", self.url),
                ("online", str(self.online)),
                *(("root", str(key)) for key in self.roots),
                ("threshold", str(self.threshold)),
                ("issued", moment(self.issued)),
            ],
        )

    @property
    def verifier(self) -> note.Verifier:
        """What verifies this hub's statements."""
        return note.Verifier(online_name(self.origin), self.online)


def root_name(origin: str) -> str:
    """The name under which a hub's root keys sign."""
    return f"{origin}/root"


def parse(raw: bytes | str) -> tuple[Root, note.Note]:
    """Take a root note apart without believing it.

    Raises: TrustError.
    """
    envelope = note.parse(raw)
    return parse_text(envelope.text), envelope


def parse_text(text: str) -> Root:
    """The root in the text of a note, or of one that nobody has signed yet.

    Raises: TrustError.
    """
    reader = Reader(TITLE, text)
    root = Root(
        version=parse_number(reader.one("version")),
        origin=parse_origin(reader.one("origin")),
        url=reader.one("url"),
        online=PublicKey.parse(reader.one("online")),
        roots=tuple(PublicKey.parse(line) for line in reader.many("root", MAX_ROOTS)),
        threshold=parse_number(reader.one("threshold")),
        issued=parse_moment(reader.one("issued")),
    )
    reader.end()
    canonical(TITLE, text, root.text)
    if not _URL.fullmatch(root.url) or root.version < 1:
        raise TrustError(f"{TITLE}: not a version from 1, or not a URL")
    if len(set(root.roots)) != len(root.roots) or not 1 <= root.threshold <= len(root.roots):
        raise TrustError(f"{TITLE}: a threshold that its root keys cannot meet, or a root key named twice")
    return root


def verify(raw: bytes | str, trusted: Root | None = None) -> Root:
    """The root in `raw`, signed by enough of its own root keys, and of `trusted`'s where that is given.

    Without `trusted` this is trust on first use: whoever wrote the note may be anyone.

    Raises: TrustError.
    """
    root, envelope = parse(raw)
    for judge in (root, trusted):
        if judge is None:
            continue
        signed = envelope.verify([note.Verifier(root_name(judge.origin), key) for key in judge.roots])
        if len(signed) < judge.threshold:
            raise TrustError(f"the root of {root.origin} has {len(signed)} of {judge.threshold} signatures")
    if trusted and root != trusted and (root.origin, root.version) != (trusted.origin, trusted.version + 1):
        raise TrustError(f"the root of {root.origin} does not follow version {trusted.version}")
    return root
