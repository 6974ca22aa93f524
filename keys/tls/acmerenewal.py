"""The certificate by ACME (RFC 8555) of an instance: the newest, when it is due, and getting another.

The account and the certificates lie in the folder tls/acme of the state folder. The answer to the server's
question (http-01) is a file that the instance's nginx serves on port 80.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from keys.tls.authority import read_key
from keys.tls.certificate import due_at, names_in, read_certificate
from keys.tls.leaf import Pair, pairs, place
from lib import running
from lib.errors import AmpzeroError, MissingError, NotReadyError
from lib.files import make_folder
from lib.instance import Instance

READY_TIME = 60.0
"""Seconds that nginx may take to be ready to answer the ACME server."""

JITTER = 0.1
"""Of the last third of its life, the part over which the instances' renewals are spread."""


@dataclass(frozen=True)
class Found:
    """A certificate that is good now; seconds since 1970. `due` is when it should be renewed."""

    pair: Pair
    expires: float
    due: float


def check_library() -> None:
    """Raises: MissingError where the library that speaks to ACME servers is not installed."""
    if importlib.util.find_spec("acme") is None:
        raise MissingError(
            "`tls: {acme: ...}` needs the Python library acme",
            f"{sys.executable} -m pip install 'ampzero[acme]'",
        )


def newest(folder: Path, names: Sequence[str]) -> Found | None:
    """The newest good certificate in `folder` that is for all of `names`."""
    for pair in pairs(folder):
        with suppress(AmpzeroError, ValueError, UnsupportedAlgorithm):
            certificate = read_certificate(pair.certificate)
            begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            good = read_key(pair.key).public_key() == certificate.public_key()
            good = good and set(names_in(certificate)) >= set(names)
            if good and begin.timestamp() <= time.time() < end.timestamp():
                # The same for one certificate, and different for each: nobody renews all at once.
                part = certificate.fingerprint(hashes.SHA256())[0] / 255
                third = (end - due_at(certificate)).total_seconds()
                due = due_at(certificate).timestamp() + part * JITTER * third
                return Found(pair, end.timestamp(), due)
    return None


def renew_by_acme(instance: Instance, folder: Path, leaf_key: Path, *, anew: bool = False) -> None:
    """Get another certificate where it is due (`anew`: in any case), of the instance's own key.

    Raises: NotRunningError, NotReadyError; UnreachableError, RefusedError of the server; MissingError of the
    library; StorageError.
    """
    acme = instance.config.tls.acme
    if acme is None:
        return
    key = read_key(leaf_key)
    found = newest(folder / "acme", acme.names)
    same = found is not None and read_key(found.pair.key).public_key() == key.public_key()
    if found is not None and same and not anew and time.time() < found.due:
        return
    _wait_for_nginx(instance)
    from keys.tls.acmeclient import obtain

    make_folder(folder / "acme", 0o700)
    challenges = make_folder(folder / "challenges", 0o700)
    ca = instance.directory / Path(acme.ca).expanduser() if acme.ca else None
    chain = obtain(acme.directory, ca, acme.email, acme.names, key, folder / "acme", challenges)
    _check(chain, key, acme.names)
    place(folder / "acme", chain, leaf_key.read_bytes())


def _check(chain: bytes, key: ec.EllipticCurvePrivateKey, names: Sequence[str]) -> None:
    """Raises: AmpzeroError where the server's answer is not what was asked for."""
    try:
        certificate = x509.load_pem_x509_certificates(chain)[0]
        same = certificate.public_key() == key.public_key() and set(names_in(certificate)) >= set(names)
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise AmpzeroError("the ACME server's answer is not a certificate") from error
    if not same:
        raise AmpzeroError("the ACME server's certificate is of another key or for other names")
    if not begin.timestamp() <= time.time() < end.timestamp():
        raise AmpzeroError(
            "the ACME server's certificate is not valid now", "is the clock of this machine right?"
        )


def _wait_for_nginx(instance: Instance) -> None:
    until = time.monotonic() + READY_TIME
    while True:
        services = running.status(instance)["services"]
        if any(each["kind"] == "nginx" and each["state"] == "ready" for each in services):
            return
        if time.monotonic() > until:
            raise NotReadyError("nginx is not ready, which answers the ACME server", "see: ampzero status")
        time.sleep(0.5)
