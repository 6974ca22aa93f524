"""A fresh key with a short-lived certificate for each login, in memory only: `ssh: {certificate: true}`.

Nothing is on any disk that could be taken from it, and what an agent or a file holds is not needed.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable

import paramiko

from keys.keyfile import PrivateKey

RENEWED = 600.0
"""Seconds after which a certificate is not used for another connection; it is good for fifteen minutes."""
Certify = Callable[[str, str], str]
"""The line of a certificate for a public key's line and a login name."""


class UserCertificates:
    """The keys of one fleet's logins. Several threads may use it."""

    def __init__(self, certify: Certify) -> None:
        self._certify = certify
        self._lock = threading.Lock()
        self._made: dict[str, tuple[float, paramiko.PKey]] = {}

    def key(self, login: str) -> paramiko.PKey:
        """A key, with its certificate, that may log in as `login`.

        Raises: what the signing key raises where it cannot be read.
        """
        with self._lock:
            made = self._made.get(login)
            if made is None or time.monotonic() - made[0] > RENEWED:
                made = self._made[login] = (time.monotonic(), self._make(login))
            return made[1]

    def _make(self, login: str) -> paramiko.PKey:
        secret = PrivateKey.generate()
        key = paramiko.Ed25519Key.from_private_key(io.StringIO(secret.encode().decode()))
        key.load_certificate(self._certify(str(secret.public), login))
        return key
