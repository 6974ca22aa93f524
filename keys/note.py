"""The signed note: text with readable signatures, of one or several keys.

Format: C2SP signed-note (https://c2sp.org/signed-note), Ed25519 signatures only. Owns the envelope and
nothing of what the text means.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from keys.errors import TrustError
from keys.fields import MAX_BODY, decode, encode, text_of
from keys.publickey import PublicKey

ED25519 = b"\x01"
"""The signature type of plain Ed25519 in key ids and verifier keys."""
MAX_SIGNATURES = 32
"""The format asks for at least 16; ours never carry more than eight."""
MAX_NAME = 300
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class SigningKey(Protocol):
    """What a signer needs of a private key (keys.keyfile.PrivateKey is one)."""

    @property
    def public(self) -> PublicKey:
        """The public half."""

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of the signature on `data`."""


@dataclass(frozen=True)
class Signature:
    """One signature line. `key_id` has four bytes; `value` is the bare signature."""

    name: str
    key_id: bytes
    value: bytes

    def __str__(self) -> str:
        return f"— {self.name} {encode(self.key_id + self.value)}"


@dataclass(frozen=True)
class Verifier:
    """A name and a public key that a reader trusts for it."""

    name: str
    key: PublicKey

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def key_id(self) -> bytes:
        """The first four bytes of SHA-256(name, newline, type, key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.key.raw).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{encode(ED25519 + self.key.raw)}"

    @classmethod
    def parse(cls, line: str) -> Verifier:
        """The verifier of `name+key id+base64`.

        Raises: TrustError.
        """
        parts = line.split("+", 2) if len(line) <= MAX_NAME + 100 else []
        if len(parts) != 3:
            raise TrustError(f"not a verifier key: {line[:40]!r}")
        raw = decode(parts[2], 33)
        if raw[:1] != ED25519:
            raise TrustError(f"a verifier key of an unknown type {raw[0]}: {line[:40]!r}")
        verifier = cls(parts[0], PublicKey(raw[1:]))
        if verifier.key_id.hex() != parts[1]:
            raise TrustError(f"a verifier key whose key id does not fit: {line[:40]!r}")
        return verifier


@dataclass(frozen=True)
class Note:
    """`text` is what is signed, with its last newline. Believe none of it before `verify`."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return f"{self.text}\n" + "".join(f"{signature}\n" for signature in self.signatures)

    def verify(self, verifiers: Iterable[Verifier]) -> list[Verifier]:
        """Those of `verifiers` that signed. Signatures of other keys are passed over, as the format demands.

        Raises: TrustError where a known key's signature is wrong, or none of the known keys signed.
        """
        known: dict[tuple[str, bytes], Verifier] = {}
        for verifier in verifiers:
            other = known.setdefault((verifier.name, verifier.key_id), verifier)
            if other != verifier:
                raise TrustError(f"two keys of {verifier.name} share a key id")
        signed: list[Verifier] = []
        for signature in self.signatures:
            match = known.get((signature.name, signature.key_id))
            if match is None or match in signed:
                continue
            if not match.key.verifies(signature.value, self.text.encode()):
                raise TrustError(f"the signature of {match.name} ({match.key.fingerprint}) is wrong")
            signed.append(match)
        if not signed:
            names = ", ".join(dict.fromkeys(name for name, _ in known)) or "a known key"
            raise TrustError(f"not signed by {names}")
        return signed


def check_name(name: str) -> None:
    """A key's name is not empty and has no space, plus or control character.

    Raises: TrustError.
    """
    if not name or len(name) > MAX_NAME or re.search(r"[\s+\x00-\x1f\x7f]", name):
        raise TrustError(f"not a key name: {name[:40]!r}")


def check_text(text: str) -> None:
    """A text ends with a newline and holds UTF-8 without other control characters.

    Raises: TrustError.
    """
    if not text.endswith("\n"):
        raise TrustError("a note's text must end with a newline")
    if _CONTROL.search(text):
        raise TrustError("a note must not hold control characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TrustError("a note must be valid UTF-8") from error


def sign(text: str, signers: Sequence[tuple[str, SigningKey]]) -> Note:
    """A note of `text` with one signature for each (name, key).

    Raises: TrustError.
    """
    check_text(text)
    signatures = []
    for name, key in signers:
        verifier = Verifier(name, key.public)
        signatures.append(Signature(name, verifier.key_id, key.sign(text.encode())))
    return Note(text, tuple(signatures))


def parse(raw: bytes | str, limit: int = MAX_BODY) -> Note:
    """Take a note of at most `limit` bytes apart, without believing it.

    Raises: TrustError.
    """
    whole = text_of(raw, limit, "a note")
    check_text(whole)
    text, separator, lines = whole[:-1].rpartition("\n\n")
    if not separator:
        raise TrustError("not a signed note: no empty line before the signatures")
    signatures = tuple(_signature(line) for line in lines.split("\n", MAX_SIGNATURES + 1))
    if len(signatures) > MAX_SIGNATURES:
        raise TrustError(f"a note with more than {MAX_SIGNATURES} signatures")
    return Note(text + "\n", signatures)


def _signature(line: str) -> Signature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "—":
        raise TrustError(f"not a signature line: {line[:40]!r}")
    check_name(parts[1])
    raw = decode(parts[2])
    if len(raw) < 5:
        raise TrustError(f"not a signature line: {line[:40]!r}")
    return Signature(parts[1], raw[:4], raw[4:])
