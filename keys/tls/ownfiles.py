"""The user's own certificate and key (`tls: {certificate, key}`): checked, then copied as a pair.

nginx is given the copy. Whoever renews the files replaces them one after the other: between the two, and
where the new ones are wrong, the last good pair stays.
"""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from keys.tls.certificate import names_in
from keys.tls.leaf import place
from keys.tls.shown import NEVER, Shown
from lib import yamlfile
from lib.errors import ConfigError
from lib.instance import CONFIG_NAME, Instance

MAX_FILE = 256 * 1024
"""Bytes of either file; a certificate with a long chain has about ten thousand."""


def take(instance: Instance, folder: Path, leaf_due: float) -> Shown:
    """The pair as it is now, copied to `folder`.

    Raises: ConfigError with the place in amprun.yaml; StorageError.
    """
    tls = instance.config.tls
    certificate, key = (resolved(instance, text or "") for text in (tls.certificate, tls.key))
    (raw, _), (secret, mode) = _read(instance, "certificate", certificate), _read(instance, "key", key)
    if mode & stat.S_IRWXO:
        raise _wrong(instance, "key", f"others can read {key} (mode {mode:04o})", f"chmod o-rwx {key}")
    problem = ""
    try:
        chain = _chain(instance, certificate, raw)
        _match(instance, key, secret, chain[0], certificate)
        names = tuple(names_in(chain[0]))
        expires = chain[0].not_valid_after_utc.timestamp()
        if not names:
            problem = f"{certificate} has no names (subjectAltName): browsers refuse it"
        elif len(chain) == 1 and chain[0].issuer != chain[0].subject:
            problem = f"{certificate} has no intermediate certificate: not everybody can check it"
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        # Its parts are only read when they are looked at.
        raise _wrong(instance, "certificate", f"{certificate} is damaged: {error}"[:300]) from error
    pair = place(folder, raw, secret)
    return Shown(pair, "files", names, expires, NEVER, leaf_due, (certificate, key), problem)


def resolved(instance: Instance, text: str) -> Path:
    """A path of amprun.yaml: ~ is the user's home, and what is relative is so to the instance's folder."""
    return instance.directory / Path(text).expanduser()


def _wrong(instance: Instance, key: str, what: str, hint: str = "") -> ConfigError:
    """The error about `tls.KEY`, with its place where there is an amprun.yaml."""
    if instance.config_file.name == CONFIG_NAME:
        return yamlfile.read(instance.config_file).error(("tls", key), what, hint)
    return ConfigError(f"tls.{key}: {what}", hint)


def _read(instance: Instance, what: str, path: Path) -> tuple[bytes, int]:
    """The content of a file, and the mode of just that file."""
    try:
        with path.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            raw = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise _wrong(instance, what, f"cannot read {path}: {error.strerror}") from error
    if len(raw) > MAX_FILE:
        raise _wrong(instance, what, f"{path} has more than {MAX_FILE} bytes")
    return raw, mode


def _chain(instance: Instance, path: Path, raw: bytes) -> list[x509.Certificate]:
    """The certificates in the file: the server's, valid now, then each the issuer of the one before."""
    try:
        chain = x509.load_pem_x509_certificates(raw)
    except ValueError as error:
        what = f"{path} is not a certificate in PEM format"
        raise _wrong(instance, "certificate", what, "it begins with -----BEGIN CERTIFICATE-----") from error
    now = datetime.now(UTC)
    for number, one in enumerate(chain):
        which = f"{path}" if number == 0 else f"certificate {number + 1} in {path}"
        if one.not_valid_after_utc <= now:
            raise _wrong(
                instance, "certificate", f"{which} expired at {one.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
                "renew it, or remove `tls` to have the local CA's",
            )  # fmt: skip
        if one.not_valid_before_utc > now:
            begin = f"{one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            raise _wrong(
                instance, "certificate", f"{which} is not valid before {begin}", "is this clock right?"
            )
        if number:
            try:
                chain[number - 1].verify_directly_issued_by(one)
            except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
                raise _wrong(
                    instance, "certificate", f"{which} did not issue the one before it",
                    "the order is: the server's own, then its issuer's, and so on",
                ) from error  # fmt: skip
    return chain


def _match(instance: Instance, path: Path, raw: bytes, leaf: x509.Certificate, certificate: Path) -> None:
    try:
        key = load_pem_private_key(raw, None)
    except TypeError as error:
        hint = f"openssl pkey -in {path} -out OTHER, with umask 077"
        raise _wrong(instance, "key", f"{path} is encrypted: nginx could not read it", hint) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _wrong(instance, "key", f"{path} is not a private key in PEM format") from error
    try:
        same = key.public_key() == leaf.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _wrong(instance, "certificate", f"{certificate} has a key of no known kind") from error
    if not same:
        raise _wrong(
            instance, "key", f"{path} is not the key of {certificate}", "compare them: openssl x509 -pubkey"
        )
