"""Small files read with a bound: one that is longer than it may be is never loaded whole."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lib.errors import AmpzeroError, MissingError
from lib.files import storage_errors

RESTORE = "restore it from git or from your back-up"
"""The hint about a key file that is damaged or missing."""
LONGEST_LINE = 1000
"""Characters of a passphrase's line: far more than any passphrase may have (keys/keyfile.py)."""


def read_up_to(path: Path, limit: int) -> bytes | None:
    """The content of a file, cut one byte behind `limit` so that its reader refuses it; None for no file.

    Raises: StorageError.
    """
    with storage_errors(path):
        try:
            with path.open("rb") as stream:
                return stream.read(limit + 1)
        except FileNotFoundError:
            return None


def read_public(path: Path, limit: int) -> bytes:
    """The same of a file beside the keys that must be there.

    Raises: MissingError, StorageError.
    """
    raw = read_up_to(path, limit)
    if raw is None:
        raise MissingError(f"no key file {path}", RESTORE)
    return raw


def read_passphrase(file: Path | str | None, *, private: bool = False) -> str:
    """The first line of `file`; empty for none. `private`: no other user may be able to read it.

    Raises: MissingError, StorageError, AmpzeroError.
    """
    if file is None:
        return ""
    path = Path(file)
    if not path.exists():
        raise MissingError(f"no file {path}")
    with storage_errors(path), path.open(encoding="utf-8", errors="surrogateescape") as stream:
        if private and stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
            raise AmpzeroError(f"other users can read {path}", f"chmod 600 {path}")
        return stream.readline(LONGEST_LINE).rstrip("\r\n")
