"""A user's key as the authority of SSH: what sshd and ssh are told, and what is revoked.

What is revoked: every earlier signing key of the user, as its chain of operations says, with all that it
signed; and what stands in `ssh.revoked` beside the key files, which may be committed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from keys.errors import TrustError
from keys.history import History
from keys.reading import read_up_to
from keys.ssh import certificate as sshcert
from keys.ssh import krl
from keys.ssh.krl import Revoked
from lib.errors import UsageError
from lib.files import write_atomic

LIST_FILE = "ssh.revoked"


def revoke(folder: Path, files: Iterable[Path]) -> Revoked:
    """Add the public keys and certificates in `files` to the list in `folder`; the list.

    Raises: MissingError, TrustError, UsageError, StorageError.
    """
    path = folder / LIST_FILE
    listed = _listed(path)
    keys, certificates = set(listed.keys), set(listed.certificates)
    for file in files:
        line, certificate = sshcert.read_either(file)
        if certificate is None:
            keys.add(line)
        elif certificate.serial == 0:
            raise UsageError(f"{file} has no serial by which it could be revoked", "revoke its key")
        else:
            certificates.add((sshcert.signed_by(certificate), certificate.serial))
    found = Revoked(frozenset(keys), frozenset(certificates))
    if found != listed:
        write_atomic(path, str(found), 0o644, sync=True)
    return found


def revocation_list(listed: Revoked, user: History, now: datetime) -> bytes:
    """The list for sshd's RevokedKeys.

    Raises: TrustError.
    """
    former = {str(state.signing) for state in user.states if state.signing}
    return krl.render(listed | Revoked(frozenset(former - {str(user.state.signing)})), now)


def _listed(path: Path) -> Revoked:
    try:
        return krl.parse(read_up_to(path, krl.MAX_FILE) or b"")
    except TrustError as error:
        raise TrustError(f"{path}: {error.message}", "mend the line, or restore the file from git") from error
