"""What a release is made of: trees, each one tar in the coordinator's cache, which is made once.

The cache folder has `tars/<sha256>.tar`, and for each way to make one `recipes/<hash>.json`: what came out.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from deploy.agent.archive import Entry, write
from deploy.agent.errors import AgentError
from lib.errors import BY_EXIT_CODE, AmpzeroError
from lib.files import make_folder, storage_errors, write_atomic

FORMAT = 1
"""Raised when the same files give another tar than before, or a tree gets other files of our own making."""
NAME_HEX = 16
KEPT_TARS = 40
"""Tars that stay in the cache: those of earlier releases are what a patch starts from."""


@dataclass(frozen=True)
class Tree:
    """One tree: `digest` is that of its files once extracted, `size` and `sha256` are those of its tar."""

    kind: str
    name: str
    sha256: str
    size: int
    digest: str
    tar: Path


@dataclass(frozen=True)
class Release:
    """The trees of one commit for one platform. `left_out` are committed files that never enter a release."""

    release: str
    commit: str
    trees: tuple[Tree, ...]
    left_out: tuple[str, ...] = ()


class Recipe(msgspec.Struct, frozen=True):
    """What came of a recipe."""

    sha256: str
    size: int
    digest: str


def make_tree(
    kind: str, recipe: Sequence[str], entries: Callable[[], Sequence[Entry]], mtime: int, cache: Path
) -> Tree:
    """The tree of `entries`, or the one that was made by the same recipe before.

    Raises: AmpzeroError that names what cannot be in a tree; StorageError.
    """
    words = "\0".join([str(FORMAT), kind, str(mtime), *recipe])
    key = hashlib.sha256(words.encode(errors="surrogateescape")).hexdigest()
    tars = make_folder(cache / "tars", 0o700)
    record = make_folder(cache / "recipes", 0o700) / f"{key}.json"
    made = _known(record, tars)
    if made is None:
        made = _make(kind, entries(), mtime, tars)
        write_atomic(record, msgspec.json.encode(made), 0o600)
        _forget_old(tars)
    name = f"{kind}-{made.sha256[:NAME_HEX]}"
    return Tree(kind, name, made.sha256, made.size, made.digest, tars / f"{made.sha256}.tar")


def _known(record: Path, tars: Path) -> Recipe | None:
    """What the recipe gave, where its tar is still there and whole."""
    try:
        made = msgspec.json.decode(record.read_bytes(), type=Recipe)
        tar = tars / f"{made.sha256}.tar"
        with tar.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != made.sha256:
                return None
        os.utime(tar)
    except (OSError, msgspec.MsgspecError):
        return None
    return made


def _make(kind: str, entries: Sequence[Entry], mtime: int, tars: Path) -> Recipe:
    aside = tars / f".new-{kind}"
    with storage_errors(tars):
        try:
            with aside.open("wb") as out:
                written = write(entries, out, mtime)
            made = Recipe(written.sha256, aside.stat().st_size, written.digest)
            aside.replace(tars / f"{made.sha256}.tar")
        except AgentError as error:
            raised = BY_EXIT_CODE.get(error.exit_code, AmpzeroError)
            raise raised(f"the {kind} tree: {error.message}", error.hint) from error
        finally:
            aside.unlink(missing_ok=True)
    return made


def _forget_old(tars: Path) -> None:
    with storage_errors(tars):
        by_use = sorted(tars.glob("*.tar"), key=lambda path: path.stat().st_mtime)
        for path in by_use[:-KEPT_TARS]:
            path.unlink(missing_ok=True)
