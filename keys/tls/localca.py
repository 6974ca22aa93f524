"""The local CA as a person, or a trust store, knows it: name, fingerprint, what it may sign for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from keys.tls.authority import Authority
from keys.tls.certificate import DOMAINS, NETWORKS, read_certificate
from keys.tls.truststores import Anchor


@dataclass(frozen=True)
class Described:
    """The CA of this machine's user."""

    anchor: Anchor
    pem: str
    fingerprint: str
    expires: datetime
    signs_for: tuple[str, ...]


def described() -> Described:
    """The CA, made if there is none yet.

    Raises: StorageError, TrustError, AmpzeroError.
    """
    file = Authority.open().ca_file
    certificate = read_certificate(file)
    name = str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    label = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()[:8]
    return Described(
        Anchor(file, name, label), file.read_text(encoding="ascii"),
        ":".join(f"{byte:02X}" for byte in certificate.fingerprint(hashes.SHA256())),
        certificate.not_valid_after_utc, (*DOMAINS, *map(str, NETWORKS)),
    )  # fmt: skip
