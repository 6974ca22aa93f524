"""Who this instance is: its identity, its host key and the TLS key that it announces, as files say now."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from keys import history, keyfile
from keys.errors import PassphraseError
from keys.identities import Identities, load_identities
from keys.keyfile import PrivateKey
from keys.reading import read_passphrase
from keys.tls import certifying
from keys.tls.certificate import key_digest, read_certificate
from lib.errors import AmpzeroError, MissingError
from lib.options import PASSPHRASE_VARIABLE


@dataclass(frozen=True)
class Own:
    """The identities in `folder` (an instance's ampnode), and the TLS files that var's state folder tells of.

    `passphrase_file` holds the passphrase of the host's private key; None for none.
    """

    folder: Path
    state: Path
    passphrase_file: Path | None = None

    def identities(self) -> Identities:
        """The key files as they are now.

        Raises: MissingError, TrustError, StorageError, AmpzeroError.
        """
        return load_identities(self.folder)

    def head(self, identities: Identities) -> str:
        """The digest of the newest operation that we know of ourselves.

        Raises: TrustError, StorageError.
        """
        known = history.read(identities.path("host", "operations"))
        return known.state.head if known else identities.host.head

    def host_key(self, identities: Identities) -> PrivateKey:
        """The host's signing key.

        Raises: PassphraseError, MissingError, TrustError, StorageError, AmpzeroError.
        """
        path = identities.path("host", "private")
        raw = keyfile.read(path)
        if not keyfile.header(raw, path.name).encrypted:
            return keyfile.decode(raw, "", path.name)
        if self.passphrase_file is None:
            raise PassphraseError(
                f"{path.name} has a passphrase, which nobody is there to type",
                f"start with {PASSPHRASE_VARIABLE}=FILE, a file of mode 0600 that holds it",
            )
        return keyfile.decode(raw, read_passphrase(self.passphrase_file, private=True), path.name)

    def leaf(self) -> tuple[Path, Path]:
        """The files of the certificate and the key that we show to other instances.

        Raises: MissingError.
        """
        record = certifying.read(self.state / "tls" / certifying.RECORD)
        if record is None:
            raise MissingError("this run has no TLS certificate yet", "it is made by: ampzero run")
        return Path(record.leaf), Path(record.leaf_key)

    def pin(self) -> str:
        """The digest of that key.

        Raises: MissingError, TrustError, StorageError.
        """
        return key_digest(read_certificate(self.leaf()[0]))

    def tls(self) -> ssl.SSLContext:
        """For connections to other instances: shows our certificate, and leaves theirs to be judged by pins.

        Raises: MissingError, AmpzeroError.
        """
        certificate, key = self.leaf()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the pin is looked at before a byte is sent: dialer.py
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise AmpzeroError(f"cannot use {certificate}: {error}", "ampzero trust renew") from error
        return context
