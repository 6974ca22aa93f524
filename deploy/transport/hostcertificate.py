"""Host certificates of OpenSSH (PROTOCOL.certkeys): whether one is good for a host, and who signed it."""

from __future__ import annotations

import base64
import time

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import SSHCertificate, SSHCertificateType

from lib.errors import RefusedError

CERTIFICATE = "-cert-v01@openssh.com"
"""Ends the type of every certificate."""


def certified_by(kind: str, blob: bytes, host: str) -> bytes:
    """The public key, as SSH writes it, that signed a host's certificate. Whether it is trusted is not asked.

    Raises: RefusedError where it is not a valid host certificate for `host`, now.
    """
    try:
        found = serialization.load_ssh_public_identity(f"{kind} {base64.b64encode(blob).decode()}".encode())
        if not isinstance(found, SSHCertificate):
            raise ValueError("it is a plain key")
        found.verify_cert_signature()
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise RefusedError(f"{host}: its host certificate is damaged: {error}") from error
    if found.type != SSHCertificateType.HOST:
        raise RefusedError(f"{host}: it shows a user's certificate as its own")
    names = [name.decode(errors="replace").lower() for name in found.valid_principals]
    if names and host.lower() not in names:
        raise RefusedError(f"{host}: its host certificate is for {', '.join(names)[:200]}")
    if not found.valid_after <= time.time() < found.valid_before:
        raise RefusedError(
            f"{host}: its host certificate is not valid now", "is the clock of this machine right?"
        )
    if found.critical_options:
        raise RefusedError(f"{host}: its host certificate demands what is not known here")
    public = found.signature_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return base64.b64decode(public.split()[1])
