"""The pin of a TLS key: the host's Ed25519 key vouches for the P-256 key that browsers can use.

A small signed note (the file nginx/server.pin):

    ampzero/tls-pin/v1
    signing: ssh-ed25519 AAAA…      (the host's signing key)
    pin: sha256//<base64>           (SHA-256 of the TLS key's SubjectPublicKeyInfo; curl --pinnedpubkey)
    issued: 2026-11-20T00:00:00Z
    expires: 2027-02-18T00:00:00Z   (when the certificate does)

    — ampzero/host <signature>
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from keys import keyfile, note
from keys.announcement import PREFIX, SIGNER
from keys.errors import TrustError
from keys.fields import MAX_BODY, Reader, canonical, moment, parse_digest, parse_moment, render
from keys.publickey import PublicKey
from keys.reading import read_up_to
from keys.tls.certificate import due_at, key_digest, read_certificate
from lib.files import write_atomic

TITLE = "ampzero/tls-pin/v1"


@dataclass(frozen=True)
class Pin:
    """What the host says; `digest` is the base64 SHA-256 of the TLS key's SubjectPublicKeyInfo."""

    signing: PublicKey
    digest: str
    issued: datetime
    expires: datetime

    @property
    def text(self) -> str:
        """What the host signs."""
        return render(
            TITLE,
            [
                ("signing", str(self.signing)),
                ("pin", PREFIX + self.digest),
                ("issued", moment(self.issued)),
                ("expires", moment(self.expires)),
            ],
        )


def sign_pin(host: note.SigningKey, certificate: Path, now: datetime | None = None) -> str:
    """The signed pin of the key in `certificate` (PEM, the first one counts).

    Raises: MissingError, TrustError, StorageError.
    """
    leaf = read_certificate(certificate)
    pin = Pin(host.public, key_digest(leaf), now or datetime.now(UTC), leaf.not_valid_after_utc)
    return str(note.sign(pin.text, [(SIGNER, host)]))


def renew_pin(certificate: Path, keys: Path, folder: Path, passphrase: str = "") -> str:
    """See that there is a good pin of the key in `certificate`, signed by the host's key in `keys`.

    Beside the certificate as `init` makes it, or else as server.pin in `folder`. What is in the way, in
    words: a passphrase that is not known. An instance without a host's key has no pin.

    Raises: MissingError, StorageError, TrustError, PassphraseError for a wrong one.
    """
    files = list(keys.glob("host-*.private.key"))
    if len(files) != 1:
        return ""
    raw = keyfile.read(files[0])
    clear = keyfile.header(raw, str(files[0]))
    leaf = read_certificate(certificate)
    for path in (folder / "server.pin", certificate.with_suffix(".pin")):
        if _lasts(path, leaf, clear.public):
            return ""
    if clear.encrypted and not passphrase:
        return f"server.pin is not signed again: {files[0].name} has a passphrase (ampzero trust renew)"
    host = keyfile.decode(raw, passphrase, str(files[0]))
    write_atomic(folder / "server.pin", sign_pin(host, certificate), 0o644)
    return ""


def _lasts(path: Path, leaf: x509.Certificate, host: PublicKey) -> bool:
    """Whether the pin in a file is of this key, and lasts until the certificate is due again."""
    raw = read_up_to(path, MAX_BODY)
    try:
        return raw is not None and verify_pin(raw, leaf, host).expires >= due_at(leaf)
    except TrustError:
        return False


def verify_pin(raw: bytes | str, leaf: x509.Certificate, host: PublicKey, now: datetime | None = None) -> Pin:
    """The pin in `raw`, when it is `host`'s, is of the key of `leaf` and has not expired.

    Raises: TrustError.
    """
    envelope = note.parse(raw)
    envelope.verify([note.Verifier(SIGNER, host)])
    reader = Reader(TITLE, envelope.text)
    pin = Pin(
        signing=PublicKey.parse(reader.one("signing")),
        digest=parse_digest(reader.one("pin").removeprefix(PREFIX)),
        issued=parse_moment(reader.one("issued")),
        expires=parse_moment(reader.one("expires")),
    )
    reader.end()
    canonical(TITLE, envelope.text, pin.text)
    if pin.signing != host:
        raise TrustError("the TLS pin names another host key than the one that signed it")
    if pin.digest != key_digest(leaf):
        raise TrustError(
            "the TLS pin is not of the key in the certificate", "make the pin again for the new certificate"
        )
    if (now or datetime.now(UTC)) >= pin.expires:
        raise TrustError(f"the TLS pin expired at {moment(pin.expires)}", "renew the certificate and its pin")
    return pin
