"""What this user has seen of a hub: its first and newest root note, and the last checkpoint of its log.

In data_folder()/hubs/ORIGIN (0700): first.note, root.note, checkpoint, and evidence/ where it was caught.
A hub can lie to whoever asks for the first time; who remembers notices. Owns the files and no judgement.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from keys.datafolder import data_errors, data_folder, private_folder
from keys.fields import MAX_BODY, moment
from keys.reading import read_up_to
from lib.files import locked, storage_errors, write_atomic

FIRST = "first.note"
NEWEST = "root.note"
CHECKPOINT = "checkpoint"
EVIDENCE = "evidence"
MOST_EVIDENCE = 32
"""Pieces of evidence that are kept: the first ones, which nobody can push out."""


class Memory:
    """The memory of one hub. Several processes may use it at the same time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, origin: str) -> Memory:
        """The memory of the hub called `origin`, whose spelling has been checked (keys.fields.ORIGIN).

        Raises: StorageError, AmpzeroError.
        """
        private_folder(data_folder() / "hubs")
        return cls(private_folder(data_folder() / "hubs" / origin))

    def read(self, name: str) -> str:
        """The note in the file `name`, "" where there is none yet.

        Raises: StorageError.
        """
        path = self.folder / name
        with data_errors(path):
            return (read_up_to(path, MAX_BODY) or b"").decode(errors="replace")

    def replace(self, name: str, before: str, after: str) -> bool:
        """Put `after` in the place of `before`; False where another process has put something else there.

        Raises: StorageError.
        """
        path = self.folder / name
        with data_errors(path), locked(self.folder):
            if self.read(name) != before:
                return False
            write_atomic(path, after, 0o600, sync=True)
            return True

    def accuse(self, what: str, exhibits: Sequence[tuple[str, str]]) -> Path:
        """Keep what a hub signed, or said, and should not have; the same evidence is kept once.

        Raises: StorageError.
        """
        folder = private_folder(self.folder / EVIDENCE)
        body = "".join(f"\n===== {title}\n{text}" for title, text in exhibits)
        digest = hashlib.sha256((what + body).encode(errors="replace")).hexdigest()[:16]
        path = folder / f"{digest}.txt"
        with data_errors(path), storage_errors(path), locked(self.folder):
            if not path.exists() and len(list(folder.iterdir())) < MOST_EVIDENCE:
                write_atomic(path, f"{moment(datetime.now(UTC))} {what}\n{body}", 0o600, sync=True)
        return path

    def evidence(self) -> list[Path]:
        """What was kept by `accuse`.

        Raises: StorageError.
        """
        folder = self.folder / EVIDENCE
        with data_errors(folder), storage_errors(folder):
            return sorted(folder.glob("*.txt")) if folder.is_dir() else []
