"""OpenSSH certificates signed by a user's key: short-lived ones to log in with, and ones for hosts.

Format: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.certkeys. The hub has no part in it:
whoever a host's sshd lets in is decided by the user's own key.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    SSHCertificate,
    SSHCertificateBuilder,
    SSHCertificateType,
)

from keys.errors import TrustError
from keys.fields import utc_now
from keys.keyfile import PrivateKey
from keys.publickey import PublicKey
from lib.errors import MissingError, UsageError
from lib.files import storage_errors

MINUTES = 15
MAX_MINUTES = 24 * 60
DAYS = 90
MAX_DAYS = 366
SKEW = timedelta(minutes=5)
"""A certificate begins a little before now, for clocks that are behind."""
MAX_PRINCIPALS = 100
MAX_FILE = 64 * 1024
EXTENSIONS = (b"permit-port-forwarding", b"permit-pty")
"""What a login may do beside running a program: a terminal, and the way through a jump host."""
_LOGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@$-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:_-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Certified:
    """A certificate: its line, as it is in a file `…-cert.pub`, and what tells it from others."""

    line: str
    serial: int
    key_id: str
    expires: datetime


def user_certificate(
    ca: PrivateKey, subject: str, logins: Sequence[str], issuer: str, *, minutes: int = MINUTES,
    now: datetime | None = None,
) -> Certified:  # fmt: skip
    """A certificate by which the key `subject` (an OpenSSH line) may log in as one of `logins`.

    `issuer` is the user's id; it stands in sshd's log.

    Raises: UsageError, TrustError.
    """
    if not 1 <= minutes <= MAX_MINUTES:
        raise UsageError(f"{minutes} minutes: a certificate is good for 1 to {MAX_MINUTES} minutes")
    for login in logins:
        if not _LOGIN.fullmatch(login):
            raise UsageError(f"{login[:64]!r} is not a login name")
    return _certified(
        ca, SSHCertificateType.USER, subject, logins, f"{issuer} {','.join(logins)}",
        timedelta(minutes=minutes), now or utc_now(), EXTENSIONS,
    )  # fmt: skip


def host_certificate(
    ca: PrivateKey, subject: str, names: Sequence[str], issuer: str, *, days: int = DAYS,
    now: datetime | None = None,
) -> Certified:  # fmt: skip
    """A certificate that the host key `subject` is that of the host with these names and addresses.

    Raises: UsageError, TrustError.
    """
    if not 1 <= days <= MAX_DAYS:
        raise UsageError(f"{days} days: a host's certificate is good for 1 to {MAX_DAYS} days")
    for name in names:
        if not _HOST.fullmatch(name):
            raise UsageError(f"{name[:80]!r} is not the name or the address of a host")
    return _certified(
        ca, SSHCertificateType.HOST, subject, names, " ".join((issuer, "host", *names[:1])),
        timedelta(days=days), now or utc_now(),
    )  # fmt: skip


def authority_line(ca: PublicKey, hosts: str, issuer: str) -> str:
    """The line of known_hosts that trusts host certificates of `ca`; `hosts` are its patterns (sshd(8)).

    Raises: UsageError.
    """
    if not re.fullmatch(r"[!-~]{1,1000}", hosts) or hosts.startswith(("@", "#", "|")):
        raise UsageError(f"{hosts[:80]!r} are no patterns of host names", "as: *.example.org,192.0.2.*")
    return f"@cert-authority {hosts} {ca} {issuer}"


def read_public(path: Path) -> str:
    """The line of a public key in a file; that of a certificate is not one.

    Raises: MissingError, TrustError, StorageError.
    """
    line = _line(path)
    if isinstance(_identity(line, str(path)), SSHCertificate):
        raise TrustError(f"{path} is a certificate, not a public key")
    return line


def read_either(path: Path) -> tuple[str, SSHCertificate | None]:
    """The line of a public key or a certificate in a file, and the certificate where it is one.

    Raises: MissingError, TrustError, StorageError.
    """
    line = _line(path)
    found = _identity(line, str(path))
    return line, found if isinstance(found, SSHCertificate) else None


def signed_by(certificate: SSHCertificate) -> str:
    """The line of the key that signed it, as it says; `ssh-keygen -L` shows the same."""
    raw = certificate.signature_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return raw.decode()


def _certified(
    ca: PrivateKey, kind: SSHCertificateType, subject: str, principals: Sequence[str], key_id: str,
    life: timedelta, began: datetime, extensions: Sequence[bytes] = (),
) -> Certified:  # fmt: skip
    # A certificate without principals is good for every user or host: nobody gets one by mistake.
    if not 1 <= len(principals) <= MAX_PRINCIPALS:
        raise UsageError(f"a certificate names 1 to {MAX_PRINCIPALS} users or hosts")
    key = _identity(subject, "the public key")
    if not isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise TrustError("not a public key that OpenSSH certifies", "Ed25519, ECDSA or RSA")
    builder = (
        SSHCertificateBuilder()
        .type(kind)
        .public_key(key)
        .key_id(key_id.encode())
        .serial(secrets.randbits(63) + 1)  # 0 means none
        .valid_principals([name.encode() for name in principals])
        .valid_after((began - SKEW).timestamp())
        .valid_before((began + life).timestamp())
    )
    for name in extensions:
        builder = builder.add_extension(name, b"")
    made = ca.certify(builder)
    return Certified(made.public_bytes().decode(), made.serial, key_id, began + life)


def _line(path: Path) -> str:
    if not path.is_file():
        raise MissingError(f"no file {path}", "ssh-keygen -t ed25519 makes a key and its .pub")
    with storage_errors(path), path.open(errors="replace") as stream:
        lines = stream.read(MAX_FILE).splitlines()
    return " ".join(lines[0].split()[:2]) if lines else ""


def _identity(line: str, where: str) -> object:
    try:
        return serialization.load_ssh_public_identity(line.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustError(
            f"{where} is not a public key of OpenSSH ({error})", "give the .pub file, never the private key"
        ) from error
