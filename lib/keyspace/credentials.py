"""What a client of a keyspace cluster shows, and whom it believes: TLS on both sides."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lib.errors import UsageError

VARIABLES = ("KEYSPACE_CA", "KEYSPACE_CERTIFICATE", "KEYSPACE_KEY")
"""In the environment of an instance's processes where its keyspace is a cluster; paths of PEM files."""


class Credentials(NamedTuple):
    """Paths of PEM files: the cluster's own authority, and this client's certificate and key."""

    authority: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """For a connection: only the cluster's own authority is believed.

        Raises: UsageError for files that cannot be read, or do not belong together.
        """
        try:
            context = ssl.create_default_context(cafile=self.authority)
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"keyspace: its certificates cannot be used: {error}", f"look at {self.certificate.parent}"
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def version(self) -> tuple[int, int]:
        """Something that is another once the certificate was exchanged; (0, 0) where it is not there."""
        try:
            found = self.certificate.stat()
        except OSError:
            return (0, 0)
        return (found.st_ino, found.st_mtime_ns)


def credentials(environment: Mapping[str, str]) -> Credentials | None:
    """Those that the environment names; None for none.

    Raises: UsageError where only some are named.
    """
    found = [environment.get(name, "") for name in VARIABLES]
    if not any(found):
        return None
    if not all(found):
        raise UsageError(f"keyspace: {', '.join(VARIABLES)} go together")
    return Credentials(*map(Path, found))
