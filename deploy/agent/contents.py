"""What a file of a tree holds, as a hash; remembered while the file is the same.

A host looks at whole trees of thousands of files several times in one deploy. A file that the kernel has not
changed since it was read is not read again: what changes its content or mode changes its ctime (inode(7)),
which no program can set.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time

from deploy.agent.entries import CHUNK
from deploy.agent.tarblock import LINK_MODE

MOST = 100_000
"""Files that are remembered, some 30 MB; above it each is read every time."""

SETTLED = 50_000_000
"""Nanoseconds since the last change after which another one has another ctime: its clock ticks every 1 to
10 ms."""

_known: dict[tuple[int, int, int, int, int], str] = {}
"""By device, inode, ctime, mtime (both in nanoseconds) and size."""


def look(path: str) -> tuple[int, str]:
    """The mode and the SHA-256 of what is at `path`; what no tree has gives a mode that no tree has.

    Raises: OSError.
    """
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        target = os.readlink(path)  # noqa: PTH115 -- Path's own changes a target as ./a
        return LINK_MODE, hashlib.sha256(os.fsencode(target)).hexdigest()
    if not stat.S_ISREG(found.st_mode):
        return found.st_mode, ""
    known = _known.get(_key(found)) or _read(path)
    return stat.S_IMODE(found.st_mode), known


def _key(found: os.stat_result) -> tuple[int, int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_ctime_ns, found.st_mtime_ns, found.st_size


def _read(path: str) -> str:
    begun = time.time_ns()
    content = hashlib.sha256()
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while data := os.read(handle, CHUNK):
            content.update(data)
        found = os.fstat(handle)
    finally:
        os.close(handle)
    if begun - found.st_ctime_ns > SETTLED and len(_known) < MOST:
        _known[_key(found)] = content.hexdigest()
    return content.hexdigest()
