"""Reading and making X.509 certificates (RFC 5280): what stands in the local CA and in its leaves."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keys.errors import TrustError
from keys.fields import encode
from keys.reading import read_up_to
from lib.errors import MissingError, UsageError

INTERNAL_DOMAIN = "ampzero.internal"
"""`.internal` is reserved for private use by ICANN (resolution 2024.07.29.06): no public name is below it."""
DOMAINS = ("localhost", INTERNAL_DOMAIN)
"""As in RFC 5280 4.2.1.10: the name itself and all below it. No leading dot, which is for URIs."""
NETWORKS = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
CA_YEARS = 10
BACKDATED = timedelta(hours=1)
"""A certificate begins a little before now, for clocks that are behind."""
MAX_FILE = 64 * 1024
_NAME = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def read_certificate(path: Path) -> x509.Certificate:
    """The first certificate of a PEM file.

    Raises: MissingError, TrustError, StorageError.
    """
    raw = read_up_to(path, MAX_FILE)
    if raw is None:
        raise MissingError(f"no certificate {path}", "it is made by: ampzero run")
    return parse_certificate(raw, str(path))


def parse_certificate(raw: bytes, where: str) -> x509.Certificate:
    """The first certificate in the content of a PEM file; `where` names it in errors.

    Raises: TrustError.
    """
    try:
        return x509.load_pem_x509_certificate(raw)
    except ValueError as error:
        raise TrustError(
            f"{where} is not a certificate in PEM format", "remove it: the next run makes it anew"
        ) from error


def key_digest(certificate: x509.Certificate | bytes) -> str:
    """The base64 SHA-256 of the SubjectPublicKeyInfo of a certificate (bytes: DER): curl --pinnedpubkey.

    Raises: TrustError for bytes that are no certificate, and for a kind of key that nobody here knows.
    """
    try:
        if isinstance(certificate, bytes):
            certificate = x509.load_der_x509_certificate(certificate)
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustError("a certificate that cannot be read, or of an unknown kind of key") from error
    return encode(hashlib.sha256(key).digest())


def names_in(certificate: x509.Certificate) -> list[str]:
    """The DNS names and addresses that it is for."""
    try:
        said = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [*said.get_values_for_type(x509.DNSName), *map(str, said.get_values_for_type(x509.IPAddress))]


def due_at(certificate: x509.Certificate) -> datetime:
    """When it is to be renewed: a third of its life before its end."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return end - (end - begin) / 3


def make_ca(key: ec.EllipticCurvePrivateKey, label: str, now: datetime) -> x509.Certificate:
    """A CA that can sign for this machine's own names only; `label` tells it from others in a trust store."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ampify Zero"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Ampify Zero local CA {label}"[:64]),
        ]
    )
    permitted: list[x509.GeneralName] = [x509.DNSName(domain) for domain in DOMAINS]
    permitted += [x509.IPAddress(network) for network in NETWORKS]
    public = key.public_key()
    return (
        _builder(name, name, public, now, timedelta(days=365 * CA_YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )


def make_leaf(
    public: ec.EllipticCurvePublicKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    wanted: Sequence[x509.GeneralName],
    days: float,
    now: datetime,
) -> x509.Certificate:
    """A certificate for the names `wanted` (see `alternative_names`), for servers and for clients: between
    instances both sides show theirs."""
    # Who a leaf is for stands in its alternative names; an empty subject would make them critical.
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ampify Zero instance")])
    issuer_id = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    life = min(timedelta(days=days), ca.not_valid_after_utc - now)
    return (
        _builder(subject, ca.subject, public, now, life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(wanted), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )


def alternative_names(names: Sequence[str], addresses: Sequence[str]) -> list[x509.GeneralName]:
    """The names of a leaf, each of which the local CA may sign.

    Raises: UsageError.
    """
    wanted: list[x509.GeneralName] = [x509.DNSName(check_name(name)) for name in names]
    wanted += [x509.IPAddress(check_address(address)) for address in addresses]
    if not wanted:
        raise UsageError("a certificate needs a name or an address")
    return wanted


def check_name(name: str) -> str:
    """A DNS name in small letters that the local CA may sign.

    Raises: UsageError.
    """
    bare = name.removeprefix("*.")
    inside = any(bare == domain or bare.endswith(f".{domain}") for domain in DOMAINS)
    if len(name) > 253 or not _NAME.fullmatch(name) or not inside:
        raise UsageError(
            f"the local CA does not sign for {name[:80]!r}",
            f"only for {' and '.join(DOMAINS)} and names below",
        )
    return name


def check_address(address: str) -> IPv4Address | IPv6Address:
    """An address of this machine itself.

    Raises: UsageError.
    """
    try:
        value = ip_address(address)
    except ValueError as error:
        raise UsageError(f"not an IP address: {address[:80]!r}") from error
    if not any(value in network for network in NETWORKS):
        raise UsageError(f"the local CA does not sign for {address}", "only for 127.0.0.0/8 and ::1")
    return value


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
