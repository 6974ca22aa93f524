"""An Ed25519 public key in OpenSSH's spelling. Needs cryptography for verifying only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from keys.errors import TrustError
from keys.fields import decode, encode

TYPE = "ssh-ed25519"
_PREFIX = b"\0\0\0\x0bssh-ed25519\0\0\0\x20"
"""RFC 8709 section 4: string "ssh-ed25519", then the key as a string of 32 bytes."""


@dataclass(frozen=True)
class PublicKey:
    """`raw` is the 32 bytes of RFC 8032."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != 32:
            raise TrustError("an Ed25519 public key has 32 bytes")

    def __str__(self) -> str:
        return f"{TYPE} {encode(self.blob)}"

    @classmethod
    def parse(cls, line: str) -> PublicKey:
        """The key of `ssh-ed25519 AAAA…`; a comment is not allowed here.

        Raises: TrustError.
        """
        kind, _, value = line.partition(" ")
        if kind != TYPE:
            raise TrustError(f"not an {TYPE} key: {line[:40]!r}")
        blob = decode(value, len(_PREFIX) + 32)
        if not blob.startswith(_PREFIX):
            raise TrustError(f"not an {TYPE} key: {line[:40]!r}")
        return cls(blob[len(_PREFIX) :])

    @property
    def blob(self) -> bytes:
        """As SSH writes it in its messages and files (RFC 8709, section 4)."""
        return _PREFIX + self.raw

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it: SHA256:… without padding."""
        return "SHA256:" + encode(hashlib.sha256(self.blob).digest()).rstrip("=")

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` (64 bytes) is this key's on `data`."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True
