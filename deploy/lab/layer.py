"""A layer: what a host has changed of one of the machine's own folders, as the overlay file system keeps it.

The marks in it are the kernel's: see Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


class Layer:
    """The layer over `/part` of the machine; its folder has `upper`, and `work`, which is the kernel's."""

    def __init__(self, folder: Path, part: str) -> None:
        self.below = Path("/") / part
        self.upper = folder / part / "upper"
        self.upper.mkdir(parents=True)
        (folder / part / "work").mkdir()
        _like(self.below, self.upper)

    def empty(self, inner: str, *, keep_folders: bool) -> None:
        """Let a host have the folder without what is in it, but with its folders where they are kept."""
        there = self.below / inner
        if not there.is_dir():
            return
        here = self._folder(Path(inner))
        os.setxattr(here, "trusted.overlay.opaque", b"y")
        for entry in there.iterdir() if keep_folders else ():
            if entry.is_dir() and not entry.is_symlink():
                self._folder(entry.relative_to(self.below))

    def hide(self, inner: str) -> None:
        """Let a host not have this file."""
        if os.path.lexists(self.below / inner):
            self._folder(Path(inner).parent)
            os.mknod(self.upper / inner, stat.S_IFCHR, os.makedev(0, 0))

    def _folder(self, inner: Path) -> Path:
        """A folder with those around it, each with the owner and the mode that it has below."""
        for path in (*reversed(inner.parents), inner):
            if not (self.upper / path).exists():
                (self.upper / path).mkdir()
                _like(self.below / path, self.upper / path)
        return self.upper / inner


def _like(there: Path, here: Path) -> None:
    facts = there.stat()
    os.chown(here, facts.st_uid, facts.st_gid)
    here.chmod(stat.S_IMODE(facts.st_mode))
