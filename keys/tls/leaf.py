"""The instance's own TLS leaf, of the local CA: found while it is good, else issued again for the same key.

`init` makes nginx/server.cert in the instance's folder. What is renewed goes below amprun_root_directory:
each certificate with its key in a folder of its own that never changes, so that what runs keeps what it has.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from keys.tls.authority import Authority, needs_renewal, read_key
from lib.errors import AmpzeroError
from lib.files import make_folder, storage_errors, write_atomic

ADDRESSES = ("127.0.0.1", "::1")
KEPT = 8
"""Folders of earlier pairs: what runs may still name one."""


class Pair(NamedTuple):
    """Paths of a certificate, with its chain, and of its key."""

    certificate: Path
    key: Path


def beside(certificate: Path) -> Pair:
    """A certificate with the key that stands beside it: server.cert, server.key."""
    return Pair(certificate, certificate.with_suffix(".key"))


def current_leaf(own: Path, folder: Path, names: Sequence[str], ca: Authority) -> Pair:
    """A good leaf: one of those in `folder`, or the instance's `own`, or a new one in `folder`.

    None is good that is of another CA, about to expire, or not of its key.

    Raises: StorageError, TrustError, AmpzeroError.
    """
    for pair in _candidates(own, folder):
        good = pair.key.exists() and not needs_renewal(
            pair.certificate, ca.ca_file, key=pair.key, names=["localhost"]
        )
        if good:
            return pair
    return issue_leaf(own, folder, names, ca)


def issue_leaf(
    own: Path, folder: Path, names: Sequence[str], ca: Authority, *, new_key: bool = False
) -> Pair:
    """A new leaf in `folder`, of the key that there was, unless `new_key`.

    Raises: UsageError, StorageError, TrustError, AmpzeroError.
    """
    kept = None if new_key else next(_keys(own, folder), None)
    return place(folder, *ca.make(names, ADDRESSES, kept=kept))


def place(folder: Path, certificate: bytes, key: bytes) -> Pair:
    """The pair in a folder of its own below `folder`, made whole or not at all.

    Raises: StorageError.
    """
    target = folder / hashlib.sha256(certificate + key).hexdigest()[:16]
    pair = beside(target / "server.cert")
    if target.is_dir():
        os.utime(target)
        return pair
    make_folder(folder.parent, 0o700)
    make_folder(folder, 0o700)
    aside = folder / f".{target.name}.{os.getpid()}"
    make_folder(aside, 0o700)
    try:
        write_atomic(aside / "server.key", key, 0o600, sync=True)
        write_atomic(aside / "server.cert", certificate, 0o644, sync=True)
        with storage_errors(target), suppress(FileExistsError):
            aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for old in _folders(folder)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return pair


def pairs(folder: Path) -> list[Pair]:
    """The pairs in `folder`, the newest first."""
    return [beside(found / "server.cert") for found in _folders(folder)]


def _folders(folder: Path) -> list[Path]:
    """The folders of pairs, the newest first."""
    found = [path for path in folder.glob("[0-9a-f]*") if path.is_dir()] if folder.is_dir() else []
    return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _candidates(own: Path, folder: Path) -> Iterator[Pair]:
    yield from pairs(folder)
    # Where versions before this one kept theirs.
    yield beside(folder.parent / "server.cert")
    yield beside(own)


def _keys(own: Path, folder: Path) -> Iterator[Path]:
    """The files of the keys that can be used again."""
    for pair in _candidates(own, folder):
        with suppress(AmpzeroError):
            read_key(pair.key)
            yield pair.key
