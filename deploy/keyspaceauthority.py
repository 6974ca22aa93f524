"""Who vouches for the members and clients of one keyspace: a CA of its own, believed by nobody else.

It is kept in the user's data folder (0700, 0600), by the cluster's token: not with the instance, which is in
git, and not on hosts. A machine without it deploys all the same, as long as no host needs a certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from keys.datafolder import data_errors, private_folder
from keys.tls.certificate import make_leaf, read_certificate
from lib.errors import StorageError
from lib.files import storage_errors, write_atomic

CA_LIFE = timedelta(days=365 * 20)
LEAF_DAYS = 730
"""A host's certificates are renewed by a deploy in the last third of this."""
BACKDATED = timedelta(hours=1)
CLIENT = "ampzero:keyspace-client"
"""What a client's certificate is for. No name and no address: etcd would look for them in its connection."""


class Authority:
    """The CA of one cluster."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @property
    def pem(self) -> str:
        """Its certificate."""
        return self._certificate.public_bytes(Encoding.PEM).decode()

    def member(self, addresses: Sequence[str], now: datetime) -> tuple[str, str]:
        """A new certificate and key of a member with these IP addresses, as PEM."""
        return self._leaf([x509.IPAddress(ip_address(address)) for address in addresses], now)

    def client(self, now: datetime) -> tuple[str, str]:
        """A new certificate and key of a client."""
        return self._leaf([x509.UniformResourceIdentifier(CLIENT)], now)

    def _leaf(self, wanted: Sequence[x509.GeneralName], now: datetime) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = make_leaf(key.public_key(), self._certificate, self._key, wanted, LEAF_DAYS, now)
        return leaf.public_bytes(Encoding.PEM).decode(), _pem(key)


def folder(base: Path, token: str) -> Path:
    """Where the CA of the cluster with this token is, below the user's data folder."""
    return base / "keyspaces" / token


def make(base: Path, token: str) -> Authority:
    """A new CA, kept.

    Raises: StorageError, AmpzeroError.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _self_signed(key, token, datetime.now(UTC))
    place = private_folder(private_folder(base / "keyspaces") / token)
    with data_errors(place):
        write_atomic(place / "ca.key", _pem(key), 0o600, sync=True)
        write_atomic(place / "ca.pem", certificate.public_bytes(Encoding.PEM), 0o600, sync=True)
    return Authority(certificate, key)


def find(base: Path, token: str) -> Authority | None:
    """The CA with this token, None where this user and machine have it not.

    Raises: StorageError for files that are none.
    """
    place = folder(base, token)
    if not (place / "ca.pem").is_file():
        return None
    with storage_errors(place):
        raw = (place / "ca.key").read_bytes()
    try:
        key = load_pem_private_key(raw, None)
    except ValueError as error:
        raise StorageError(f"{place / 'ca.key'} is not a key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise StorageError(f"{place / 'ca.key'} is not a key of this CA")
    return Authority(read_certificate(place / "ca.pem"), key)


def _self_signed(key: ec.EllipticCurvePrivateKey, token: str, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Ampify Zero keyspace {token}")])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
