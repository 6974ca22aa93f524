"""The files that a service is configured by, changed as a whole; those before come back if it fails so.

The file before is kept under a second name, so that it comes back also where the disk is full.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from lib.errors import StorageError
from lib.files import storage_errors, write_atomic

BEFORE = ".before"
"""What the name of the file before has at its end, as long as it may have to come back."""


class NewFile(msgspec.Struct, frozen=True):
    """What is to stand in a file."""

    content: str
    mode: int = 0o600


class Release:
    """New contents of some files, by path. Not yet installed."""

    def __init__(self, files: Mapping[str, NewFile]) -> None:
        self._files = {Path(path): file for path, file in files.items()}
        self._installed: list[Path] = []

    def install(self) -> None:
        """Put all files in place, or none.

        Raises: StorageError.
        """
        try:
            for path, file in self._files.items():
                before = _before(path)
                with storage_errors(path):
                    before.unlink(missing_ok=True)
                    with suppress(FileNotFoundError):
                        before.hardlink_to(path)
                self._installed.append(path)
                write_atomic(path, file.content, file.mode)
        except StorageError:
            self.restore()
            raise

    def restore(self) -> None:
        """Put the files before back; harmless when nothing is installed, or it is kept."""
        for path in self._installed:
            try:
                _before(path).replace(path)
                # Where both were one file still, rename(2) leaves both names.
                _before(path).unlink(missing_ok=True)
            except FileNotFoundError:
                path.unlink(missing_ok=True)
        self._installed = []

    def keep(self) -> None:
        """The service works with them: there is no way back from here."""
        for path in self._installed:
            _before(path).unlink(missing_ok=True)
        self._installed = []


def _before(path: Path) -> Path:
    return path.with_name(path.name + BEFORE)
