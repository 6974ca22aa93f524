"""The files of a tree of a release, and which paths and links a tree may have.

Nothing leads out of a tree, and no member is written through another: that is decided here, from the names
alone, for the one who builds an archive and for the host that takes it apart.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from deploy.agent.errors import AgentError
from deploy.agent.tarblock import FILE_MODES, LINK_MODE, PATH_MAX

NAME_MAX = 255
"""Bytes of one name, as Linux's file systems have it."""
DEPTH_MAX = 64
"""Folders in each other."""
CACHE = "__pycache__"
"""What Python writes beside the files that it runs: in no archive, and no part of a tree's digest."""
CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One file of a tree, or with `target` (and mode 0777) a symbolic link.

    `data` is the content, or opens it; what is opened has `size` bytes.
    """

    path: str
    mode: int = 0o644
    data: bytes | Callable[[], BinaryIO] = b""
    target: str = ""
    size: int = -1

    def length(self) -> int:
        """Bytes of the content."""
        return len(self.data) if isinstance(self.data, bytes) else self.size

    def chunks(self) -> Iterator[bytes]:
        """The content, piece by piece.

        Raises: AgentError where it is not as long as it was said to be.
        """
        left = self.length()
        with io.BytesIO(self.data) if isinstance(self.data, bytes) else self.data() as stream:
            while data := stream.read(min(CHUNK, left + 1)):
                left -= len(data)
                yield data
                if left < 0:
                    break
        if left:
            raise AgentError(f"{self.path!r} changed while it was read", "try again")


def link(path: str, target: str) -> Entry:
    """A symbolic link of a tree."""
    return Entry(path, LINK_MODE, b"", target)


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """The entries by the bytes of their paths, each of them checked.

    Raises: AgentError that names the first which cannot be in a tree.
    """
    rules = Rules()
    try:
        ordered = sorted(entries, key=lambda entry: entry.path.encode())
    except UnicodeEncodeError as error:
        raise AgentError(f"{error.object!r}: a file's name must be UTF-8", "rename it") from error
    for entry in ordered:
        rules.check(entry.path, entry.mode, entry.target)
        if entry.target and entry.length():
            raise AgentError(f"{entry.path!r} is a link and a file")
    return ordered


class Rules:
    """Which member may follow those before it."""

    def __init__(self) -> None:
        self._last = b""
        self._leaves: set[str] = set()

    def check(self, path: str, mode: int, target: str) -> None:
        """Take the next member.

        Raises: AgentError that names it.
        """
        names = _names(path)
        raw = path.encode()
        if raw <= self._last:
            raise AgentError(f"{path!r} is there twice, or out of order")
        # What is below a file or a link would be written somewhere else than its path says.
        if above := next((above for above in _above(names) if above in self._leaves), ""):
            raise AgentError(f"{path!r} is below {above!r}, which is no folder")
        if target:
            _check_target(path, len(names) - 1, target)
        if mode not in ((LINK_MODE,) if target else FILE_MODES):
            raise AgentError(f"{path!r}: the mode {mode:o} is none that a tree has")
        self._last = raw
        self._leaves.add(path)


def _names(path: str) -> list[str]:
    """The names of a path which stays in the tree."""
    names = path.split("/")
    if path.startswith("/") or ".." in names:
        raise AgentError(f"{path!r} leaves the tree")
    if "" in names or "." in names or "\0" in path:
        raise AgentError(f"{path!r} is no path of a file in a tree")
    if CACHE in names:
        raise AgentError(f"{path!r}: compiled files are in no tree")
    too_long = len(path.encode()) > PATH_MAX or any(len(name.encode()) > NAME_MAX for name in names)
    if too_long or len(names) > DEPTH_MAX:
        raise AgentError(f"{path[:80]!r}…: the path is too long")
    return names


def _above(names: list[str]) -> Iterator[str]:
    return ("/".join(names[:count]) for count in range(1, len(names)))


def _check_target(path: str, depth: int, target: str) -> None:
    """A link may only go up as far as its own real folders are, and then down: so no way leads out."""
    names = [name for name in target.split("/") if name not in ("", ".")]
    ups = next((index for index, name in enumerate(names) if name != ".."), len(names))
    if target.startswith("/") or ups > depth:
        raise AgentError(f"the link {path!r} leaves the tree: {target[:80]}", "a link must stay in the tree")
    if ".." in names[ups:]:
        raise AgentError(
            f"the link {path!r} goes down and up again: {target[:80]}", "name its target directly"
        )
    if "\0" in target or len(target.encode()) > PATH_MAX:
        raise AgentError(f"the link {path!r}: its target cannot be a path")
