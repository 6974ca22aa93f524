"""Where a user's own hub, local CA and unfinished keys are kept: outside of any repository."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.errors import AmpzeroError, StorageError
from lib.files import make_folder, storage_errors


def data_folder() -> Path:
    """$XDG_DATA_HOME/ampzero, or ~/.local/share/ampzero; not made here.

    A relative $XDG_DATA_HOME is ignored, as the XDG Base Directory Specification wants it.

    Raises: StorageError.
    """
    return _base("XDG_DATA_HOME", ".local/share")


def cache_base() -> Path:
    """$XDG_CACHE_HOME/ampzero, or ~/.cache/ampzero: what can be made again; not made here.

    Raises: StorageError.
    """
    return _base("XDG_CACHE_HOME", ".cache")


def _base(variable: str, below_home: str) -> Path:
    chosen = os.environ.get(variable, "")
    if chosen.startswith("/"):
        return Path(chosen) / "ampzero"
    try:
        return Path.home() / below_home / "ampzero"
    except RuntimeError as error:
        raise StorageError("no home folder is known", f"set HOME or {variable}") from error


def pending_folder(target: Path) -> Path:
    """Where the key material of an unfinished `init` of the folder `target` is kept; not made here.

    Raises: StorageError.
    """
    digest = hashlib.sha256(os.fsencode(target.absolute())).hexdigest()
    return data_folder() / "pending" / digest[:32]


@contextmanager
def data_errors(path: Path) -> Iterator[None]:
    """Give storage errors about `path` the hint that fits the user's data folder.

    lib.files speaks of amprun_root_directory, which has nothing to do with it.

    Raises: StorageError.
    """
    try:
        yield
    except StorageError as error:
        if "amprun_root_directory" not in error.hint:
            raise
        raise StorageError(
            error.message, f"see the space and the rights of {path}; XDG_DATA_HOME puts it elsewhere"
        ) from error


def private_folder(path: Path) -> Path:
    """Make `path` (0700) where it is missing, and refuse one that other users can enter.

    Raises: StorageError, AmpzeroError.
    """
    with data_errors(path), storage_errors(path):
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise AmpzeroError(f"other users can enter {path} (mode {mode:04o})", f"chmod 700 {path}")
    return path
