"""Who has a hub open, so that none is replaced under a running server: a flock, which a crash gives back."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from keys.datafolder import data_errors
from lib.errors import TakenError
from lib.files import storage_errors

NAME = "lock"


class InUse:
    """A hold on a hub's folder: shared by all who have it open, `alone` for who replaces its database."""

    def __init__(self, folder: Path, *, alone: bool = False) -> None:
        path = folder / NAME
        with data_errors(folder), storage_errors(path):
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise TakenError(
                f"the hub in {folder} is {'open in another process' if alone else 'being restored'}",
                "stop its server first" if alone else "wait until that is done",
            ) from error

    def release(self) -> None:
        """Give it back; harmless when that was done."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
