"""The last half of a move to another hub: from a whole new set of key files to their places. Needs no hub.

The new set is made in a folder aside; renaming that to `.moved` decides. From then on whoever reads the keys
first puts the files into their places, so that a kill at any moment leaves either all old or all new ones.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from keys.errors import TrustError
from lib.files import locked, storage_errors, sync_folder

DECIDED = ".moved"
MAKING = ".moved.new"
DONE = ".moved.done"
LEAVING = "leaving"
"""The file in it that lists the names that go, one a line."""
SECRET = (".private.key", ".control.key")


def settle(folder: Path) -> bool:
    """Complete a move that is decided, and remove what others left; whether there was one.

    Raises: StorageError, TrustError.
    """
    if not any((folder / name).is_dir() for name in (DECIDED, MAKING, DONE)):
        return False
    with storage_errors(folder), locked(folder):
        for name in (MAKING, DONE):  # whoever made them is gone: the lock is ours
            forget(folder / name)
        decided = folder / DECIDED
        if not decided.is_dir():
            return False
        names = sorted(path.name for path in decided.iterdir() if path.name != LEAVING)
        for name in names:
            _place(decided / name, folder / name)
        sync_folder(folder)
        kept = {(folder / name).read_bytes() for name in names}
        for name in (decided / LEAVING).read_text().split():
            leaving = folder / name
            if name in names or not leaving.exists():
                continue
            if name.endswith(SECRET) and leaving.read_bytes() not in kept:
                raise TrustError(f"{leaving} has changed since it was moved", "move it away by hand")
            leaving.unlink()
        sync_folder(folder)
        decided.rename(folder / DONE)
        sync_folder(folder)
        forget(folder / DONE)
    return True


def forget(folder: Path) -> None:
    """Remove a folder of key files that is not needed (any more).

    Raises: OSError.
    """
    if folder.is_dir():
        shutil.rmtree(folder)


def _place(source: Path, target: Path) -> None:
    """Put a second name of `source` into the place of `target`, in one step."""
    aside = target.with_name(f".{target.name}.moving")
    aside.unlink(missing_ok=True)
    aside.hardlink_to(source)
    aside.replace(target)  # of two names of one file this leaves both (rename(2))
    aside.unlink(missing_ok=True)
