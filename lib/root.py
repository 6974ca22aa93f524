"""The root directory of an instance (amprun_root_directory), below which everything that changes is kept.

Writes nothing: it tries whether a folder could be made.
"""

from __future__ import annotations

import os
from pathlib import Path

from lib.config import DEFAULT_ROOT

ROOT_VARIABLE = "AMPZERO_ROOT"
"""The root directory of this machine, whatever a file says: a release is the same on every host."""


def is_writable_text(path: str) -> bool:
    """Whether `path` can be written into the configuration files of other programs: no control characters
    (a new line above all, which no such file can quote), and UTF-8."""
    return not any(ord(char) < 32 or 127 <= ord(char) < 160 or 0xD800 <= ord(char) < 0xE000 for char in path)


def root_directory(configured: str | None, directory: Path) -> Path:
    """amprun_root_directory, absolute: $AMPZERO_ROOT, or as configured, or the default, or the user's own."""
    if (given := os.environ.get(ROOT_VARIABLE, "")).startswith("/"):
        return Path(os.path.normpath(given))
    if configured is not None:
        return Path(os.path.normpath(directory / Path(configured).expanduser()))
    default = Path(DEFAULT_ROOT)
    return default if can_write(default) else user_root()


def user_root() -> Path:
    """The root directory for a user who may not write the default one (XDG base directories)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if state.startswith("/") else Path.home() / ".local/state"
    return base / "ampzero"


def can_write(folder: Path) -> bool:
    """Whether this user may write into `folder`, or make it where it is not."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
