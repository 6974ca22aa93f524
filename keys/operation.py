"""One operation of an identity: register, rotate, revoke or recover. Owns its text and its signing.

What may follow what is keys/chain.py's. The text (a note's; docs/keys.md):

    ampzero/operation/v1
    action: register
    kind: host                      (register only)
    owner: <genesis of the user>    (register of a host only)
    seq: 1
    prev: none                      (later: base64 SHA-256 of the previous operation's text)
    time: 2026-11-20T00:00:00Z
    signing: ssh-ed25519 AAAA…      (none after revoke)
    control: ssh-ed25519 AAAA…      (one to five, the highest rank first)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from keys import note
from keys.errors import TrustError
from keys.fields import (
    Reader,
    canonical,
    encode,
    moment,
    parse_digest,
    parse_moment,
    parse_number,
    render,
)
from keys.publickey import PublicKey

TITLE = "ampzero/operation/v1"
SIGNER = "ampzero/operation"
"""The name in signatures of the identity's own keys: it has no id yet when it registers."""
OWNER = "ampzero/owner"
"""The name in the signature by which a user takes a host as its own (with the user's signing key)."""
ACTIONS = ("register", "rotate", "revoke", "recover")
KINDS = ("user", "host")
MAX_CONTROL = 5
NONE = "none"


@dataclass(frozen=True)
class Operation:
    """`prev` and, but for register, `kind` and `owner` are empty; `signing` is None after revoke."""

    action: str
    seq: int
    time: datetime
    signing: PublicKey | None
    control: tuple[PublicKey, ...]
    prev: str = ""
    kind: str = ""
    owner: str = ""

    @property
    def text(self) -> str:
        """What is signed."""
        fields = [("action", self.action)]
        if self.kind:
            fields.append(("kind", self.kind))
        if self.owner:
            fields.append(("owner", self.owner))
        fields += [
            ("seq", str(self.seq)),
            ("prev", self.prev or NONE),
            ("time", moment(self.time)),
            ("signing", str(self.signing or NONE)),
            *(("control", str(key)) for key in self.control),
        ]
        return render(TITLE, fields)

    @property
    def digest(self) -> str:
        """Base64 SHA-256 of the text (not of its signatures); the first operation's is the genesis."""
        return encode(hashlib.sha256(self.text.encode()).digest())

    def check(self) -> None:
        """What can be told from this operation alone.

        Raises: TrustError.
        """
        first = self.action == "register"
        keys = [key for key in (self.signing, *self.control) if key]
        wrong = (
            (self.action not in ACTIONS, f"unknown action {self.action[:40]!r}"),
            (first != (self.seq == 1) or self.seq < 1, "register is the first operation and has seq 1"),
            (first == bool(self.prev), "prev is none in the first operation, and only there"),
            (first != (self.kind in KINDS), "register says kind: user or host, and no other does"),
            (
                (self.kind == "host") != bool(self.owner),
                "a host has an owner when it registers, and no other",
            ),
            (
                (self.action == "revoke") != (self.signing is None),
                "signing is none in revoke, and only there",
            ),
            (not 1 <= len(self.control) <= MAX_CONTROL, f"one to {MAX_CONTROL} control keys"),
            (len(set(keys)) != len(keys), "a key is named twice"),
        )
        for is_wrong, what in wrong:
            if is_wrong:
                raise TrustError(f"{TITLE}: {what}")


@dataclass(frozen=True)
class SignedOperation:
    """An operation with the note that it came in; its signatures are not checked yet."""

    operation: Operation
    note: note.Note


def sign(
    operation: Operation, keys: Sequence[note.SigningKey], owner: note.SigningKey | None = None
) -> SignedOperation:
    """The operation signed by each of `keys`, and by the owner's signing key where a host registers.

    Raises: TrustError.
    """
    operation.check()
    signers = [(SIGNER, key) for key in keys]
    if owner:
        signers.append((OWNER, owner))
    return SignedOperation(operation, note.sign(operation.text, signers))


def parse(raw: bytes | str) -> SignedOperation:
    """Take an operation's note apart and check what can be told from it alone.

    Raises: TrustError.
    """
    envelope = note.parse(raw)
    reader = Reader(TITLE, envelope.text)
    action, kind, owner = reader.one("action"), reader.optional("kind"), reader.optional("owner")
    seq, prev, time = reader.one("seq"), reader.one("prev"), reader.one("time")
    signing = reader.one("signing")
    control = reader.many("control", MAX_CONTROL)
    reader.end()
    operation = Operation(
        action=action,
        kind=kind,
        owner=owner and parse_digest(owner),
        seq=parse_number(seq),
        prev="" if prev == NONE else parse_digest(prev),
        time=parse_moment(time),
        signing=None if signing == NONE else PublicKey.parse(signing),
        control=tuple(PublicKey.parse(line) for line in control),
    )
    operation.check()
    canonical(TITLE, envelope.text, operation.text)
    return SignedOperation(operation, envelope)
