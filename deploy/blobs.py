"""What travels: whole archives and patches, made once and kept in the coordinator's cache.

A patch is made once for a pair of tars, however many hosts need it; a whole archive once for a tar.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy import delta
from deploy.plan import Send
from lib.files import make_folder, storage_errors

WORTH = 0.6
"""A patch larger than this share of the whole archive is not worth its trouble."""
CERTAIN = 0.05
"""A patch smaller than this share of the tar is worth it for certain: no archive compresses so well."""
LEVEL = 6
CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Blob:
    """A file that is sent. `new` is the SHA-256 of the tar that it gives, `old` of the one it starts from."""

    sha256: str
    size: int
    path: Path
    new: str
    old: str = ""

    def described(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        if self.old:
            return {"kind": "patch", "new": self.new, "old": self.old, "size": self.size}
        return {"kind": "full", "new": self.new, "size": self.size}


class Blobs:
    """The cache folder `folder`: `tars/<sha256>.tar`, `full/<sha256>.gz`, `patches/<old>-<new>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("tars", "full", "patches"):
            make_folder(folder / name, 0o700)

    def tar(self, sha256: str) -> Path:
        """Where the tar of this hash is, if it is."""
        return self._folder / "tars" / f"{sha256}.tar"

    def tars(self) -> frozenset[str]:
        """The hashes of the tars that are here."""
        return frozenset(path.stem for path in (self._folder / "tars").glob("*.tar"))

    def keep(self, tar: Path, sha256: str) -> Path:
        """Have a tar in the cache; by a hard link where that goes.

        Raises: StorageError.
        """
        kept = self.tar(sha256)
        if not kept.exists():
            aside = kept.with_suffix(f".{os.getpid()}")
            with storage_errors(kept):
                try:
                    aside.hardlink_to(tar)
                except OSError:
                    shutil.copyfile(tar, aside)
                aside.replace(kept)
        return kept

    def choose(self, sends: Iterable[Send]) -> dict[Send, Blob]:
        """The blob for each of `sends`: a patch where it is small enough, else the whole archive.

        Raises: StorageError.
        """
        return {send: self._best(send) for send in dict.fromkeys(sends)}

    def _best(self, send: Send) -> Blob:
        if not send.old:
            return self.full(send.new)
        patch = self.patch(send.old, send.new)
        if patch.size <= CERTAIN * send.unpacked or patch.size <= WORTH * self.full(send.new).size:
            return patch
        return self.full(send.new)

    def patch(self, old: str, new: str) -> Blob:
        """The patch from one tar to another.

        Raises: StorageError.
        """
        path = self._folder / "patches" / f"{old}-{new}"
        if not path.exists():
            aside = path.with_suffix(f".{os.getpid()}")
            with storage_errors(path):
                delta.build(self.tar(old), self.tar(new), aside)
                aside.replace(path)
        return Blob(_hash(path), path.stat().st_size, path, new, old)

    def full(self, new: str) -> Blob:
        """The whole archive of a tar: gzip, which every host can unpack.

        Raises: StorageError.
        """
        path = self._folder / "full" / f"{new}.gz"
        if not path.exists():
            aside = path.with_suffix(f".{os.getpid()}")
            with storage_errors(path), self.tar(new).open("rb") as source, aside.open("wb") as raw:
                # No name and no time: the same tar gives the same archive.
                with gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as packed:
                    shutil.copyfileobj(source, packed, CHUNK)
                aside.replace(path)
        return Blob(_hash(path), path.stat().st_size, path, new)


def _hash(path: Path) -> str:
    with storage_errors(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
