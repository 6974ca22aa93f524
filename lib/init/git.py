"""git, as a program: one repository, and nothing of the user's hooks, templates, signing or ignore files.

Owns the options that make a call come out the same on every machine, and the translation of its errors.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from lib.errors import AmpzeroError, MissingError

OPTIONS = (
    "core.hooksPath=/dev/null",
    "core.attributesFile=/dev/null",
    "core.autocrlf=false",
    "core.safecrlf=false",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "commit.gpgSign=false",
    "tag.gpgSign=false",
    "merge.verifySignatures=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
)
KEPT = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_EXEC_PATH")
"""Of git's own variables only these pass: GIT_DIR and its like would lead us to another repository."""
TIMEOUT = 120.0


class GitError(AmpzeroError):
    """git refused; the message has its own first words."""


class Git:
    """The repository in `folder`. `user` is the name to commit by where git knows none."""

    def __init__(self, folder: Path, user: str = "") -> None:
        self.folder = folder
        self.user = user
        self._identity: list[str] | None = None

    def run(self, *arguments: str, data: bytes | None = None, index: Path | None = None,
            accept: tuple[int, ...] = (0,), excludes: bool = True) -> bytes:  # fmt: skip
        """What `git ARGUMENTS` prints. `data` is its stdin, `index` another index file than the usual one;
        without `excludes` the user's own ignore file does not count.

        Raises: GitError on an exit code that `accept` does not name, MissingError where there is no git.
        """
        argv = ["git"]
        for option in (*OPTIONS, *(() if excludes else ("core.excludesFile=/dev/null",))):
            argv += ["-c", option]
        argv += [*(self._identity or []), *arguments]
        try:
            done = subprocess.run(
                argv, cwd=self.folder, env=self.environment(index), input=data or b"", capture_output=True,
                timeout=TIMEOUT, check=False,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise MissingError("git is not installed", "ampzero doctor --install") from error
        except subprocess.TimeoutExpired as error:
            raise GitError(f"git {arguments[0]} did not end within {TIMEOUT:g} s") from error
        if done.returncode not in accept:
            words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines() or [
                "it failed"
            ]
            raise GitError(f"git {arguments[0]}: {words[0].removeprefix('fatal: ').removeprefix('error: ')}")
        return done.stdout

    def text(self, *arguments: str, index: Path | None = None, accept: tuple[int, ...] = (0,)) -> str:
        """As `run`, decoded and without the newline at the end.

        Raises: GitError, MissingError.
        """
        return self.run(*arguments, index=index, accept=accept).decode(errors="surrogateescape").strip()

    def start(self, message: Callable[[str], str]) -> None:
        """Make the repository, and its first commit of all that is not ignored.

        `message` is given the id of the commit's tree.

        Raises: GitError, MissingError.
        """
        self.run("init", "-q", "--template=", "-b", "main")
        self.identify()
        # What the user ignores everywhere may be a part of an instance, as `lib/`.
        self.run("add", "--all", "--", ".", excludes=False)
        tree = self.text("write-tree")
        commit = self.commit_tree(tree, [], message(tree))
        self.run("update-ref", "HEAD", commit)

    def identify(self) -> None:
        """Commit as the user that git's own configuration names, or else as `user`.

        Raises: GitError, MissingError.
        """
        known = [line.partition("=")[0] for line in self.text("config", "--list").splitlines()]
        fallback = {"user.name": self.user or "ampzero", "user.email": f"{self.user or 'ampzero'}@localhost"}
        self._identity = [
            part for key, value in fallback.items() if key not in known for part in ("-c", f"{key}={value}")
        ]

    def changes(self) -> list[str]:
        """Paths that differ from the last commit or are in no commit (ignored ones are not named).

        Raises: GitError, MissingError.
        """
        raw = self.run("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
        return [entry[3:].decode(errors="replace") for entry in raw.split(b"\0") if entry]

    def blob(self, commit: str, path: str) -> bytes | None:
        """The content of `path` in `commit`; None where it is not there.

        Raises: GitError, MissingError.
        """
        if not self.run("ls-tree", "-z", commit, "--", path):
            return None
        return self.run("cat-file", "blob", f"{commit}:{path}")

    def tree_with(self, commit: str, files: Mapping[str, bytes], scratch: Path) -> str:
        """The id of the tree of `commit` with `files` in it; `scratch` is a folder for a moment's index.

        Raises: GitError, MissingError.
        """
        index = scratch / "index"
        self.run("read-tree", commit, index=index)
        for path, content in files.items():
            blob = self.run("hash-object", "-w", "--stdin", data=content).decode().strip()
            self.run("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", index=index)
        return self.text("write-tree", index=index)

    def commit_tree(self, tree: str, parents: list[str], message: str) -> str:
        """The id of a new commit; no branch knows it yet.

        Raises: GitError, MissingError.
        """
        flags = [part for parent in parents for part in ("-p", parent)]
        return self.run("commit-tree", tree, *flags, data=message.encode()).decode().strip()

    def environment(self, index: Path | None = None) -> dict[str, str]:
        """What git runs in: of its own variables only those that may pass."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("GIT_") or key.startswith(KEPT)
        }
        # Its words are shown, and some of them are looked at: they must not be translated.
        kept |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
        if index is not None:
            kept["GIT_INDEX_FILE"] = str(index)
        return kept
