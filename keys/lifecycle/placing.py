"""Puts new key files in the place of old ones, so that at every moment one set of them is valid.

For each secret: the old file gets a second name (`NAME.previous`), then the new one takes its place in one
step. The hub's statement comes last; keys/identities.py reads whichever file the statement names, so before
that step the old keys hold and after it the new ones. Then the old ones move to the archive. Each step may
be the last of this process: all of them can be done again.
"""

from __future__ import annotations

from pathlib import Path

from keys import operation, root, statement
from keys.datafolder import data_errors, data_folder, private_folder
from keys.errors import TrustError
from keys.identities import HUB_FILE, PREVIOUS
from keys.lifecycle.journal import Change, Step
from lib.errors import StorageError
from lib.files import make_folder, storage_errors, sync_folder, write_atomic, write_new


def place(folder: Path, change: Change) -> None:
    """Put the files of `change` into the instance's key folder.

    Raises: StorageError.
    """
    for step in change.steps:
        for part, content in step.secrets.items():
            _replace(folder / f"{step.id}.{part}.key", content, 0o600)
    for name, content in sorted(change.files.items(), key=_statements_last):
        if name == HUB_FILE:
            _replace(folder / name, content, 0o644)
        elif _read(folder / name) != content.encode():
            write_atomic(folder / name, content, 0o644, sync=True)
    for name, content in change.beside.items():
        write_atomic(folder.parent / name, content, 0o644, sync=True)


def settle(folder: Path, change: Change) -> list[Path]:
    """Move what was replaced or retired to the archive; where it is now.

    Raises: StorageError, AmpzeroError.
    """
    moved = []
    for step in change.steps:
        for part in (*step.secrets, *step.retire):
            path = folder / f"{step.id}.{part}.key"
            old = path if part in step.retire else path.with_name(path.name + PREVIOUS)
            if old.exists():
                moved.append(_archive(old, step, part))
    with storage_errors(folder):
        if _all_follow(folder):
            (folder / (HUB_FILE + PREVIOUS)).unlink(missing_ok=True)
        sync_folder(folder)
    return moved


def archive_folder() -> Path:
    """Where keys go that no longer hold, below the user's data folder; not made here.

    Raises: StorageError.
    """
    return data_folder() / "archive"


def _all_follow(folder: Path) -> bool:
    """Whether the hub's newest root verifies every statement, so that the one before is not needed."""
    hub = root.verify(_read(folder / HUB_FILE) or b"")
    for path in folder.glob("*-*.public.key"):
        try:
            statement.verify(_read(path) or b"", hub.verifier)
        except TrustError:
            return False
    return True


def _statements_last(file: tuple[str, str]) -> tuple[bool, bool, str]:
    """The hub's root before what it verifies; a statement when everything else is there."""
    return file[0].endswith(".public.key") and file[0] != HUB_FILE, file[0] != HUB_FILE, file[0]


def _replace(path: Path, content: str, mode: int) -> None:
    before = _read(path)
    if before == content.encode():
        return
    previous = path.with_name(path.name + PREVIOUS)
    with storage_errors(path):
        if before is not None and not previous.exists():
            previous.hardlink_to(path)
            sync_folder(path.parent)
    write_atomic(path, content, mode, sync=True)


def _archive(path: Path, step: Step, part: str) -> Path:
    """Move one secret, which may be to another disk."""
    folder = archive_folder()
    with data_errors(folder):
        make_folder(folder.parent, 0o700)
        number = operation.parse(step.operation).operation.seq - 1
        content = _read(path) or b""
        place = private_folder(private_folder(folder) / step.id)
        for turn in range(1000):
            target = place / f"{step.id}.{part}.{number}{f'-{turn}' if turn else ''}.key"
            # The same content is there when an earlier try came this far.
            if write_new(target, content, 0o600, sync=True) or _read(target) == content:
                break
        else:
            raise StorageError(f"{place} is full of {path.name}", "look at what is there")
    with storage_errors(path):
        path.unlink()
    return target


def _read(path: Path) -> bytes | None:
    with storage_errors(path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
