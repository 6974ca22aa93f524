"""Files that survive a power cut: written whole or not at all, on the disk before the call returns.

The agent runs from a single archive with Python's own library, so it cannot use lib/files.py.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deploy.agent.errors import AgentError

STORAGE, TAKEN = 8, 7
"""Exit codes of lib/errors.py."""
LARGEST_STATE = 8 * 1024 * 1024
"""Bytes of a file of state: far more than any should have."""


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into an AgentError that says what to do.

    Raises: AgentError.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "no space left on the device" if full else error.strerror
        hint = "free some space on the host" if full else ""
        raise AgentError(f"{error.filename or path}: {what}", hint, STORAGE) from error


def make_folder(path: Path, mode: int = 0o700) -> None:
    """Make `path` with its parents where it is not.

    Raises: AgentError.
    """
    with storage(path):
        if not path.is_dir():
            path.mkdir(mode=mode, parents=True, exist_ok=True)
            path.chmod(mode)
            sync_folder(path.parent)


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `data`. One writer at a time: the name beside it is always the same.

    Raises: AgentError.
    """
    aside = path.with_name(f".{path.name}.new")
    with storage(path):
        aside.unlink(missing_ok=True)
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(handle)
        aside.replace(path)
        sync_folder(path.parent)


def set_link(path: Path, target: str) -> None:
    """Have `path` be a link to `target`, in one step.

    Raises: AgentError.
    """
    with storage(path):
        if path.is_symlink() and str(path.readlink()) == target:
            return
        aside = path.with_name(f".{path.name}.link")
        aside.unlink(missing_ok=True)
        aside.symlink_to(target)
        aside.replace(path)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Have a folder's entries on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any, mode: int = 0o600) -> None:
    """Replace `path` by one line of JSON.

    Raises: AgentError.
    """
    write(path, json.dumps(value, sort_keys=True).encode() + b"\n", mode)


def read(path: Path) -> bytes | None:
    """The content of `path`, None where it is not.

    Raises: AgentError.
    """
    with storage(path):
        try:
            with path.open("rb") as stream:
                data = stream.read(LARGEST_STATE + 1)
        except FileNotFoundError:
            return None
    if len(data) > LARGEST_STATE:
        raise AgentError(f"{path} is too large to be ours", exit_code=STORAGE)
    return data


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`, None where there is no such file.

    Raises: AgentError that names the file, where it is no such thing.
    """
    data = read(path)
    if data is None:
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise AgentError(f"{path} is damaged: it is no JSON object", "see docs/deploy.md", STORAGE)
    return value


class Lock:
    """A flock on a file, which a crash gives back. The file holds the holder's pid."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1

    def acquire(self, wait: float = 0.0) -> bool:
        """Take it within `wait` seconds; False where another holds it.

        Raises: AgentError.
        """
        with storage(self.path):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            until = time.monotonic() + wait
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= until:
                        os.close(handle)
                        return False
                    time.sleep(0.02)
            os.ftruncate(handle, 0)
            os.pwrite(handle, b"%d\n" % os.getpid(), 0)
        self._handle = handle
        return True

    def release(self) -> None:
        """Give it back; harmless where it is not held."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def holder(self) -> int:
        """The pid that the holder wrote, 0 where it is not known."""
        with suppress(OSError, ValueError):
            return int(self.path.read_text() or 0)
        return 0


def is_held(path: Path) -> bool:
    """Whether anybody holds the flock of a file; it is only tried, nothing is written."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


@contextmanager
def locked(path: Path, wait: float) -> Iterator[None]:
    """Hold the flock of `path` meanwhile.

    Raises: AgentError that names the holder, where it is not free within `wait` seconds.
    """
    lock = Lock(path)
    if not lock.acquire(wait):
        raise AgentError(f"{path} is held by the process {lock.holder()}", "try again later", TAKEN)
    try:
        yield
    finally:
        lock.release()
