"""Taking turns with a folder of files, where each turn is short."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.files import storage_errors


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the flock of the folder itself, for which others wait; no file is made, and a crash frees it.

    Raises: StorageError.
    """
    with storage_errors(folder):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with storage_errors(folder):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
