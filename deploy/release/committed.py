"""The files of a commit, as git has them: never those of the work tree, which must be the same."""

from __future__ import annotations

import fnmatch
import io
import os
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

from deploy.agent.archive import Entry, link
from lib.errors import AmpzeroError, MissingError, TakenError
from lib.init.git import OPTIONS, Git

NEVER = ("*.private.key", "*.control.key", "*.key.previous", ".env", ".env.*")
"""Names of files that hold secrets: committed or not, encrypted or not, they travel apart or not at all."""
EXAMPLE = ".env.example"
SHOWN = 10
Read = Callable[[str], BinaryIO]
"""Opens the object of an id."""


@dataclass(frozen=True)
class File:
    """One file of a commit: its mode as git has it, the id of its content, and how long that is."""

    path: str
    mode: str
    object: str
    size: int


@dataclass(frozen=True)
class Source:
    """What a tree is made of. `identity` says all of it, so that the same identity means the same files."""

    files: tuple[File, ...]
    commit: str
    mtime: int
    left_out: tuple[str, ...] = ()
    identity: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = tuple(f"{each.mode} {each.object} {each.path}" for each in self.files)
        object.__setattr__(self, "identity", names)

    def find(self, path: str) -> File | None:
        """The file with this path."""
        return next((each for each in self.files if each.path == path), None)


def committed(folder: Path, paths: Sequence[str] = (".",)) -> Source:
    """What HEAD has of `paths` in `folder` (the top of a repository or a folder in one).

    Raises: TakenError where the work tree has anything else, MissingError where there is no commit; GitError;
    AmpzeroError that names what cannot be deployed.
    """
    git = Git(folder)
    commit = _head(git, folder)
    _check_clean(git, folder, paths)
    _check_kinds(git, folder, paths)
    ignored = _ignored(git, paths)
    kept: list[File] = []
    left_out: list[File] = []
    for file in _listed(git, commit, paths):
        (left_out if file.path in ignored or is_secret(file.path) else kept).append(file)
    time = git.text("log", "-1", "--format=%ct", commit, "--", *paths)
    return Source(tuple(kept), commit, max(0, int(time or 0)), tuple(each.path for each in left_out))


def is_secret(path: str) -> bool:
    """Whether a file of this name never enters a release."""
    name = path.rpartition("/")[2]
    return name != EXAMPLE and any(fnmatch.fnmatchcase(name, pattern) for pattern in NEVER)


def _head(git: Git, folder: Path) -> str:
    inside = git.text("rev-parse", "--is-inside-work-tree", accept=(0, 128))
    commit = inside and git.text("rev-parse", "-q", "--verify", "HEAD^{commit}", accept=(0, 1, 128))
    if not commit:
        raise MissingError(
            f"{folder} has no commit: a release is made of what is committed",
            "git init && git add -A && git commit",
        )
    return commit


def _check_clean(git: Git, folder: Path, paths: Sequence[str]) -> None:
    raw = git.run("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *paths)
    changes = [entry[3:].decode(errors="replace") for entry in raw.split(b"\0") if entry]
    if changes:
        rest = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
        raise TakenError(
            f"{folder} has changes that are in no commit: {', '.join(changes[:SHOWN])}{rest}",
            "commit them, or put them away: git stash -u",
        )


def _check_kinds(git: Git, folder: Path, paths: Sequence[str]) -> None:
    """git does not see sockets, pipes and devices at all; whoever has one there expects it on the hosts."""
    found = [str(path.relative_to(folder)) for path in _special(folder, paths)]
    if found:
        ignored = git.run("check-ignore", "-z", "--stdin", data="\0".join(found).encode(), accept=(0, 1))
        found = sorted(set(found) - set(ignored.decode().split("\0")))
    if found:
        raise AmpzeroError(
            f"{folder / found[0]} is a socket, a pipe or a device, which no release can have",
            "remove it, or name it in .gitignore",
        )


def _special(folder: Path, paths: Sequence[str]) -> Iterator[Path]:
    for top, folders, names in (step for path in paths for step in os.walk(folder / path)):
        if ".git" in folders:
            folders.remove(".git")
        for name in names:
            path = Path(top, name)
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
                yield path


def _ignored(git: Git, paths: Sequence[str]) -> set[str]:
    """Files that are committed although they are ignored. The user's own ignore file does not count."""
    raw = git.run("ls-files", "-z", "-c", "-i", "--exclude-standard", "--", *paths, excludes=False)
    return set(raw.decode(errors="surrogateescape").split("\0"))


def _listed(git: Git, commit: str, paths: Sequence[str]) -> Iterator[File]:
    """What `git ls-tree` says: `MODE TYPE ID SIZE<tab>PATH`, each ended by a zero."""
    for line in git.run("ls-tree", "-r", "-l", "-z", commit, "--", *paths).split(b"\0"):
        if not line:
            continue
        words, _, path = line.decode(errors="surrogateescape").partition("\t")
        mode, kind, name, size = words.split()
        if kind != "blob":
            raise AmpzeroError(
                f"{path!r} is a submodule, which no release can have", "commit its files themselves"
            )
        yield File(path, mode, name, int(size))


@contextmanager
def objects(folder: Path) -> Iterator[Read]:
    """Read objects of the repository that `folder` is in, one at a time, by one git for all of them."""
    options = [word for option in OPTIONS for word in ("-c", option)]
    started: list[subprocess.Popen[bytes]] = []

    def read(name: str) -> BinaryIO:
        if not started:
            started.append(
                subprocess.Popen(
                    ["git", *options, "cat-file", "--batch"], cwd=folder, env=Git(folder).environment(),
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                )
            )  # fmt: skip
        to_git, from_git = started[0].stdin, started[0].stdout
        assert to_git is not None and from_git is not None  # noqa: S101 -- they are pipes, see above
        to_git.write(f"{name}\n".encode())
        to_git.flush()
        words = from_git.readline().split()
        if len(words) != 3:
            raise AmpzeroError(f"git has no object {name}", "git fsck")
        content = from_git.read(int(words[2]))
        from_git.read(1)  # the newline behind it
        return io.BytesIO(content)

    try:
        yield read
    finally:
        for process in started:
            process.communicate()


def entries(files: Sequence[File], read: Read) -> list[Entry]:
    """The files as those of a tree; `read` must be open when they are read."""
    return [_entry(file, read) for file in files]


def _entry(file: File, read: Read) -> Entry:
    if file.mode == "120000":
        return link(file.path, read(file.object).read().decode(errors="surrogateescape"))
    mode = 0o755 if file.mode == "100755" else 0o644
    return Entry(file.path, mode, partial(read, file.object), size=file.size)
