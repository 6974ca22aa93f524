"""What was seen of other identities: their chains, statements and announcements, a small file each, 0600.

A hub can lie about somebody whom we do not know yet. Not about one whose first operation we hold: what it
says later must go on from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keys import announcement, history
from keys.announcement import Announcement
from keys.datafolder import data_folder, private_folder
from keys.errors import TrustError
from keys.fields import MAX_BODY, parse_id, parse_origin
from keys.history import MAX_FILE, History
from keys.reading import read_up_to
from lib.files import write_atomic


@dataclass(frozen=True)
class Remembered:
    """The files in `folder`; several processes of a user may use them."""

    folder: Path

    @classmethod
    def of_hub(cls, origin: str) -> Remembered:
        """Those of the hub `origin`, in the user's data folder.

        Raises: StorageError, AmpzeroError, TrustError.
        """
        base = private_folder(private_folder(data_folder() / "hubs") / parse_origin(origin))
        return cls(private_folder(base / "identities"))

    def chain(self, id: str) -> History | None:
        """The verified chain of `id` as it was when last seen.

        Raises: TrustError for a damaged file, StorageError.
        """
        raw = read_up_to(self.folder / f"{parse_id(id)}.operations", MAX_FILE)
        return history.parse(raw) if raw else None

    def keep_chain(self, id: str, now: History) -> None:
        """Remember a chain, which must be the one that was seen, or go on from it.

        Raises: TrustError, StorageError.
        """
        path = self.folder / f"{parse_id(id)}.operations"
        seen = self.chain(id)
        if seen is not None and not now.begins_with(seen):
            raise TrustError(
                f"the hub shows another history of {id} than before",
                f"either the hub lies, or it was restored from a back-up; what was seen is {path}",
            )
        if seen is None or len(seen.states) < len(now.states):
            write_atomic(path, str(now), 0o600)

    def stated(self, id: str) -> str:
        """The hub's last statement about `id` that was verified; empty for none.

        Raises: StorageError.
        """
        return self._note(f"{parse_id(id)}.statement")

    def keep_statement(self, id: str, note: str) -> None:
        """Remember a verified statement.

        Raises: StorageError.
        """
        if self.stated(id) != note:
            write_atomic(self.folder / f"{parse_id(id)}.statement", note, 0o600)

    def announced(self, id: str) -> str:
        """The newest announcement of `id` that was seen, to the letter; empty for none.

        Raises: StorageError.
        """
        return self._note(f"{parse_id(id)}.announcement")

    def keep_announcement(self, note: str, said: Announcement) -> None:
        """Remember a verified announcement, which must not be older than the one that was seen.

        Raises: TrustError, StorageError.
        """
        seen = self.announced(said.id)
        if seen == note:
            return
        if seen and (before := announcement.parse(seen)[0]).genesis == said.genesis and before.seq > said.seq:
            raise TrustError(
                f"the hub shows an older announcement of {said.id} than before", "try again in a while"
            )
        write_atomic(self.folder / f"{said.id}.announcement", note, 0o600)

    def _note(self, name: str) -> str:
        return (read_up_to(self.folder / name, MAX_BODY) or b"").decode(errors="replace")
