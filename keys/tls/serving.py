"""Which certificate browsers are shown: the leaf, the user's own files, or the one that ACME gave."""

from __future__ import annotations

import time
from pathlib import Path

from keys.tls.authority import RENEW_BEFORE
from keys.tls.certificate import due_at, names_in, read_certificate
from keys.tls.leaf import Pair, place
from keys.tls.shown import NEVER, Shown
from lib.instance import Instance


def serving(instance: Instance, folder: Path, leaf: Pair, ca: Path) -> Shown:
    """What amprun.yaml wants shown; `folder` has the instance's TLS files.

    Raises: ConfigError about the user's own files; StorageError, TrustError.
    """
    certificate = read_certificate(leaf.certificate)
    leaf_due = min(due_at(certificate), read_certificate(ca).not_valid_after_utc - RENEW_BEFORE).timestamp()
    if instance.config.tls.certificate is not None:
        from keys.tls.ownfiles import take

        return take(instance, folder / "served", leaf_due)
    if (acme := instance.config.tls.acme) is not None:
        from keys.tls.acmerenewal import check_library, newest

        check_library()
        if found := newest(folder / "acme", acme.names):
            return Shown(found.pair, "acme", tuple(acme.names), found.expires, found.due, leaf_due)
        names, problem = tuple(acme.names), "there is no certificate by ACME yet: the local CA's is shown"
        expires = certificate.not_valid_after_utc.timestamp()
        # A copy, as what is shown and the leaf will be two.
        pair = place(folder / "served", leaf.certificate.read_bytes(), leaf.key.read_bytes())
        return Shown(pair, "acme", names, expires, time.time(), leaf_due, problem=problem)
    expires = certificate.not_valid_after_utc.timestamp()
    return Shown(leaf, "local", tuple(names_in(certificate)), expires, NEVER, leaf_due)
