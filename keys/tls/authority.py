"""The local CA of a machine's user, and the TLS leaves that it signs.

Owns the files: `ca.pem` (what curl and browsers are given) and `ca.key` in a 0700 folder outside of any
repository. Installs trust nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from keys.datafolder import data_errors, data_folder, private_folder
from keys.errors import TrustError
from keys.fields import utc_now
from keys.keyfile import read
from keys.tls.certificate import (
    alternative_names,
    due_at,
    make_ca,
    make_leaf,
    names_in,
    read_certificate,
)
from lib.errors import AmpzeroError
from lib.files import locked, write_atomic

RENEW_BEFORE = timedelta(days=30)
"""How long before its end a CA is replaced. A leaf is renewed when a third of its life is left."""


class Authority:
    """The local CA. Make it with `open`; several processes may use it at the same time."""

    def __init__(
        self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey,
        now: Callable[[], datetime],
    ) -> None:  # fmt: skip
        self.ca_file = folder / "ca.pem"
        self._certificate = certificate
        self._key = key
        self._now = now

    @classmethod
    def open(cls, folder: Path | None = None, *, now: Callable[[], datetime] = utc_now) -> Authority:
        """The CA in `folder` (default: `ca` in the user's data folder), made at the first call.

        A CA that is about to expire is replaced; trust in it must then be given again.

        Raises: StorageError, TrustError, AmpzeroError.
        """
        folder = private_folder(folder or data_folder() / "ca")
        certificate_file, key_file = folder / "ca.pem", folder / "ca.key"
        with data_errors(folder), locked(folder):
            if not key_file.exists():
                write_atomic(key_file, new_key(), 0o600, sync=True)
            key = read_key(key_file)
            # A crash may leave a key without its certificate, or beside the certificate of an older key.
            usable = certificate_file.exists()
            if usable:
                certificate = read_certificate(certificate_file)
                left = certificate.not_valid_after_utc - now()
                usable = left > RENEW_BEFORE and certificate.public_key() == key.public_key()
            if not usable:
                certificate = make_ca(key, _label(key), now())
                write_atomic(certificate_file, certificate.public_bytes(Encoding.PEM), 0o644, sync=True)
        return cls(folder, certificate, key, now)

    def issue(
        self, certificate: Path, key: Path, names: Sequence[str], addresses: Sequence[str], days: float = 90
    ) -> None:
        """Write what `make` gives to the files `certificate` and `key` (0600), replacing what is there.

        Raises: UsageError, StorageError.
        """
        made, secret = self.make(names, addresses, days)
        write_atomic(key, secret, 0o600, sync=True)
        write_atomic(certificate, made, 0o644)

    def make(
        self, names: Sequence[str], addresses: Sequence[str], days: float = 90, *, kept: Path | None = None
    ) -> tuple[bytes, bytes]:
        """A certificate and its P-256 key, both PEM.

        The key is a new one, or that in the file `kept`, so that its pin stays. Names must be localhost or
        ampzero.internal or below, addresses in 127/8 or ::1.

        Raises: UsageError; MissingError, TrustError, StorageError, AmpzeroError about `kept`.
        """
        wanted = alternative_names(names, addresses)
        leaf_key = ec.generate_private_key(ec.SECP256R1()) if kept is None else read_key(kept)
        leaf = make_leaf(leaf_key.public_key(), self._certificate, self._key, wanted, days, self._now())
        return leaf.public_bytes(Encoding.PEM), _pem(leaf_key)


def needs_renewal(
    certificate: Path,
    ca: Path,
    *,
    key: Path | None = None,
    names: Sequence[str] = (),
    addresses: Sequence[str] = (),
    now: datetime | None = None,
) -> bool:
    """Whether `certificate` must be issued again: missing, unreadable, not signed by the CA in the file `ca`,
    with less than a third of its life left, not of the key in the file `key`, or without one of `names` and
    `addresses`.
    """
    try:
        leaf, authority = read_certificate(certificate), read_certificate(ca)
        leaf.verify_directly_issued_by(authority)
        if key is not None and read_key(key).public_key() != leaf.public_key():
            return True
    except (AmpzeroError, InvalidSignature, ValueError, TypeError):
        return True
    has = names_in(leaf)
    if not has or not set(has).issuperset((*names, *addresses)):
        return True
    return (now or utc_now()) > due_at(leaf)


def _label(key: ec.EllipticCurvePrivateKey) -> str:
    """Eight hex digits of the key's identifier."""
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()[:8]


def new_key() -> bytes:
    """A P-256 key, as `read_key` reads it."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A P-256 key in a file that no other user can read.

    Raises: MissingError, TrustError, StorageError, AmpzeroError.
    """
    try:
        key = load_pem_private_key(read(path), None)
    except (ValueError, TypeError) as error:
        raise TrustError(
            f"{path} is not a private key in PEM format", "restore it from your back-up, or remove it"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TrustError(f"{path} is not a P-256 key", "restore it from your back-up, or remove it")
    return key
