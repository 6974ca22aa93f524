"""LocalHub: a hub inside this program, on SQLite, so that `init` works offline.

In its folder (0700): hub.sqlite, online.key, root.key, root.note (0600).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from keys.datafolder import data_errors, data_folder, private_folder
from keys.fields import utc_now
from keys.hub import making
from keys.hub.databases import DATABASE
from keys.hub.hub import Hub
from keys.hub.quotas import Options
from keys.hub.rootnotes import NEWEST
from keys.hub.sqlite import SqliteDatabase

OPTIONS = Options(hosts=0, registrations=0)
"""Nobody but its user reaches it."""


class LocalHub(Hub):
    """One user's own hub. Several processes may use it at the same time."""

    @classmethod
    def open(  # type: ignore[override]  # a local hub has nothing to choose
        cls, folder: Path | None = None, *, now: Callable[[], datetime] = utc_now
    ) -> LocalHub:
        """The hub in `folder` (default: `hub` in the user's data folder), made at the first call.

        Raises: StorageError, TrustError, AmpzeroError.
        """
        folder = private_folder(folder or data_folder() / "hub")
        with data_errors(folder):
            if not (folder / NEWEST).exists():
                making.make_local(folder, now())
            return cls(folder, SqliteDatabase(folder / DATABASE), OPTIONS, now)
