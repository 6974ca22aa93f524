"""Files done right: atomic writes, modes, locks. Every OSError leaves as a StorageError."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.errors import StorageError


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into a StorageError that says what to do.

    Raises: StorageError.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or path
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"no space left on the device of {where}",
                "free some space, or set amprun_root_directory to another disk",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StorageError(
                f"cannot write {where}: {error.strerror}",
                "change its owner, or set amprun_root_directory to a folder of yours",
            ) from error
        raise StorageError(f"{where}: {error.strerror}") from error


def make_folder(path: Path, mode: int = 0o755) -> Path:
    """Make `path` with its parents; the last one gets `mode` exactly, whatever the umask.

    Raises: StorageError.
    """
    with storage_errors(path):
        if not path.is_dir():
            path.mkdir(mode=mode, parents=True, exist_ok=True)  # never wider than asked for, not even now
            path.chmod(mode)
    return path


def write_atomic(path: Path, data: bytes | str, mode: int = 0o644, *, sync: bool = False) -> None:
    """Replace `path` by `data` in one step: a reader sees the old or the new content, never a part.

    `sync` also survives a power cut: the file and its folder are flushed to the disk.

    Raises: StorageError.
    """
    with storage_errors(path):
        aside = _write_aside(path, data, mode, sync=sync)
        try:
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        if sync:
            sync_folder(path.parent)


def write_new(path: Path, data: bytes | str, mode: int = 0o600, *, sync: bool = False) -> bool:
    """Make `path` with `data` in one step, or leave what is there alone and return False.

    A reader sees the whole file or none; of several writers one wins. `sync` also survives a power cut.

    Raises: StorageError.
    """
    with storage_errors(path):
        aside = _write_aside(path, data, mode, sync=sync)
        try:
            path.hardlink_to(aside)
        except FileExistsError:
            return False
        finally:
            aside.unlink(missing_ok=True)
        if sync:
            sync_folder(path.parent)
    return True


def _write_aside(path: Path, data: bytes | str, mode: int, *, sync: bool) -> Path:
    """A new file beside `path`, whole, and at no moment wider than `mode`; a failure leaves nothing."""
    # Loaded when it is used: the supervisor, which stays for months, only makes folders.
    import tempfile

    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(handle, mode)
            stream.write(data.encode() if isinstance(data, str) else data)
            stream.flush()
            if sync:
                os.fsync(handle)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename in it survives a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the flock of the folder itself, for which others wait; no file is made, and a crash frees it.

    Raises: StorageError.
    """
    with storage_errors(folder):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with storage_errors(folder):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class Lock:
    """A held flock on a file. The hold is the lock, never the file's existence: a crash frees it.

    The file holds the holder's pid: whoever inherits the lock and stays writes its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Take the lock without waiting; False when another holds it.

        Raises: StorageError.
        """
        with storage_errors(self.path):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                return False
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._handle = handle
        return True

    def is_held(self) -> bool:
        """Whether anybody holds the lock. It is only tried, shared and for an instant: nothing is written."""
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def holder(self) -> int:
        """The pid that the holder wrote, 0 when it is not known."""
        try:
            return int(self.path.read_text() or 0)
        except (OSError, ValueError):
            return 0

    def descriptor(self) -> int:
        """The open file that holds the lock: a process that inherits it holds the lock as well."""
        if self._handle is None:
            raise ValueError("the lock is not held")
        return self._handle

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
