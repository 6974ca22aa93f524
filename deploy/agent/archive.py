"""A tree of a release as a tar: written the same to the byte whenever it has the same files, read strictly.

Owns the order, the making of an extracted tree, and its digest. Which paths and links may be is entries.py's,
how a header looks tarblock.py's. Folders are no members: they are where their files are, mode 0755.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from deploy.agent import contents
from deploy.agent.entries import CACHE, CHUNK, Entry, Rules, in_order, link
from deploy.agent.errors import AgentError
from deploy.agent.tarblock import BLOCK, Header, read_exactly, read_header

__all__ = ["Entry", "digest", "extract", "link", "tree_digest", "write"]


class Written(NamedTuple):
    """What came of a tree: SHA-256 of its tar, and the digest of its files as `tree_digest` has it."""

    sha256: str
    digest: str


def write(entries: Iterable[Entry], out: BinaryIO, mtime: int) -> Written:
    """Write the tar of `entries`, in whichever order they come; each is read once.

    Raises: AgentError that names what cannot be in a tree.
    """
    tar, tree = hashlib.sha256(), hashlib.sha256()

    def put(data: bytes) -> None:
        tar.update(data)
        out.write(data)

    for entry in in_order(entries):
        put(Header(entry.path, entry.mode, entry.length(), mtime, entry.target).encode())
        content = hashlib.sha256(entry.target.encode())
        for chunk in entry.chunks():
            put(chunk)
            content.update(chunk)
        tree.update(_line(entry.path, entry.mode, content.hexdigest()))
        put(bytes(-entry.length() % BLOCK))
    put(bytes(2 * BLOCK))
    return Written(tar.hexdigest(), tree.hexdigest())


def extract(tar: Path, into: Path, *, limit: int, files: int, like: Path | None = None) -> None:
    """Make the folder `into` of the tar: at most `limit` bytes of content in at most `files` files.

    What is the same in the tree `like` is not written again, but is the same file (record 140). All of it is
    on the disk when this returns. After an error there is no such folder.

    Raises: AgentError.
    """
    try:
        into.mkdir(mode=0o700)
    except OSError as error:
        raise AgentError(f"cannot make {into}: {error.strerror}", exit_code=8) from error
    try:
        with tar.open("rb") as stream:
            _extract(stream, into, limit, files, like)
        _settle(into)
        into.chmod(0o755)
    except OSError as error:
        shutil.rmtree(into, ignore_errors=True)
        hint = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise AgentError(f"cannot extract {tar.name}: {error.strerror}", hint, exit_code=8) from error
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)
        raise


# Plain paths below and no Path: a tree has thousands of files, and all hosts extract it at once.


def _extract(stream: BinaryIO, into: Path, limit: int, files: int, like: Path | None) -> None:
    rules = Rules()
    made = {""}
    while header := read_header(stream):
        rules.check(header.path, header.mode, header.target)
        files, limit = files - 1, limit - header.size
        if files < 0 or limit < 0:
            raise AgentError(f"the archive is larger than it may be, from {header.path!r} on")
        folder = header.path.rpartition("/")[0]
        if folder not in made:
            _make_folders(into, folder, made)
        place = f"{into}/{header.path}"
        if header.target:
            os.symlink(header.target, place)  # noqa: PTH211 -- as above
        else:
            if like is None or not _link(stream, f"{like}/{header.path}", place, header):
                _make_file(stream, place, header)
            filler = -header.size % BLOCK
            if filler and read_exactly(stream, filler) != bytes(filler):
                raise AgentError(f"a bad archive: something is hidden behind {header.path!r}")


def _make_folders(into: Path, folder: str, made: set[str]) -> None:
    above = folder.rpartition("/")[0]
    if above not in made:
        _make_folders(into, above, made)
    place = f"{into}/{folder}"
    os.mkdir(place, 0o755)  # noqa: PTH102 -- as above
    os.chmod(place, 0o755)  # noqa: PTH101, S103 -- as above; whatever the umask is
    made.add(folder)


def _link(stream: BinaryIO, old: str, place: str, header: Header) -> bool:
    """Make `place` the file `old` where that has the same content; else the stream stays where it is."""
    start = stream.tell()
    try:
        # Whatever lies there now, a pipe also, is not waited for.
        handle = os.open(old, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        found = os.fstat(handle)
        same = (found.st_mode, found.st_size) == (stat.S_IFREG | header.mode, header.size)
        same = same and found.st_uid == os.geteuid()
        left = header.size
        while same and left:
            piece = read_exactly(stream, min(CHUNK, left))
            same = os.read(handle, len(piece)) == piece
            left -= len(piece)
        if same:
            os.link(old, place)
            return True
    except OSError:  # so many links are not possible, or none at all
        pass
    finally:
        os.close(handle)
    stream.seek(start)
    return False


def _make_file(stream: BinaryIO, place: str, header: Header) -> None:
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        left = header.size
        while left:
            piece = memoryview(read_exactly(stream, min(CHUNK, left)))
            left -= len(piece)
            while piece:
                piece = piece[os.write(handle, piece) :]
        os.fchmod(handle, header.mode)
        # Python takes a compiled file for that of a source by its time: it must be the archive's.
        os.utime(handle, (header.mtime, header.mtime))
    finally:
        os.close(handle)


def _settle(folder: Path) -> None:
    """Have the folder's whole file system on the disk: one journal commit instead of one a file."""
    try:
        import ctypes

        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (ImportError, OSError, AttributeError):  # a Python without it, a C library without it
        os.sync()
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if syncfs(handle):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(handle)


def tree_digest(entries: Iterable[Entry]) -> str:
    """SHA-256 over path, mode and content of every entry; as `digest` finds it after `extract`.

    Raises: AgentError.
    """
    total = hashlib.sha256()
    for entry in in_order(entries):
        content = hashlib.sha256(entry.target.encode())
        for chunk in entry.chunks():
            content.update(chunk)
        total.update(_line(entry.path, entry.mode, content.hexdigest()))
    return total.hexdigest()


def digest(folder: Path, skip: frozenset[str] | set[str] = frozenset()) -> str:
    """The digest of an extracted tree, the paths in `skip` left out: any change by hand makes another.

    Python's compiled files are no change. Raises: AgentError.
    """
    total = hashlib.sha256()
    try:
        for path in sorted(_leaves(str(folder), "", skip), key=os.fsencode):
            total.update(_line(path, *contents.look(f"{folder}/{path}")))
    except OSError as error:
        raise AgentError(f"cannot read {error.filename}: {error.strerror}", exit_code=8) from error
    return total.hexdigest()


def _line(path: str, mode: int, content: str) -> bytes:
    return b"%o %s %s\0" % (mode, content.encode(), os.fsencode(path))


def _leaves(folder: str, above: str, skip: frozenset[str] | set[str]) -> Iterator[str]:
    """The paths of all that is no folder, and of empty folders, which no archive makes."""
    with os.scandir(folder) as scan:
        entries = list(scan)
    if above and not entries:
        yield above[:-1]
    for entry in entries:
        path = above + entry.name
        if path in skip or entry.name == CACHE:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _leaves(entry.path, f"{path}/", skip)
        else:
            yield path
