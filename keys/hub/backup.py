"""Back-up of a hub on SQLite while it serves, and restoring it without rewriting history.

A back-up is a folder: hub.sqlite, the root notes, and a checkpoint of its log. No secret is in it: keep
copies of online.key and of the root keys apart from it. For PostgreSQL use its own tools; `Hub.open` makes
the same check of history.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from keys import note, root
from keys.datafolder import data_errors, private_folder
from keys.errors import HistoryError, TrustError
from keys.hub import logbook, rootnotes, schema
from keys.hub.database import Work
from keys.hub.databases import DATABASE
from keys.hub.hub import CHECKPOINT, Hub
from keys.hub.inuse import InUse
from keys.hub.sqlite import SqliteDatabase
from keys.log import checkpoint, merkle
from keys.log.checkpoint import Checkpoint
from keys.root import Root
from lib.errors import MissingError, StorageError, TakenError, UsageError
from lib.files import storage_errors, sync_folder, write_atomic, write_new

AT_ONCE = 1000
"""Entries that are hashed at once when a log is checked."""


def back_up(hub: Hub, target: Path) -> Checkpoint:
    """Copy the hub as it is now to the new folder `target`; what its log is.

    Raises: UsageError for a hub on PostgreSQL, TakenError where there is a back-up already, StorageError.
    """
    if not isinstance(hub.database, SqliteDatabase):
        raise UsageError("a hub on PostgreSQL is backed up with pg_dump", "docs/hub.md says how")
    private_folder(target)
    if (target / CHECKPOINT).exists():
        raise TakenError(f"there is a back-up in {target} already", "name a new folder")
    with data_errors(target), storage_errors(target):
        for left in target.glob(f"{DATABASE}*"):  # of a try that was interrupted
            left.unlink()
        for path in _root_notes(hub.folder):
            shutil.copyfile(path, target / path.name)
        # Signed before the copy: the copy may have more, and never less.
        signed = hub.checkpoint()
        hub.database.copy_to(target / DATABASE)
        # Last of all: a folder with a checkpoint is a whole back-up.
        write_new(target / CHECKPOINT, signed, 0o600, sync=True)
        sync_folder(target)
    return checkpoint.parse(signed)[0]


def restore(source: Path, folder: Path, seen: Sequence[str] = ()) -> Checkpoint:
    """Put the back-up in `source` into the hub's folder, where no server may be running; what its log is now.

    `seen` are checkpoints that others have of this hub. Together with those in the back-up and in `folder`
    they must all be of the back-up's log; nothing is changed otherwise. A database that was in `folder` is
    kept beside the new one.

    Raises: HistoryError, TrustError, MissingError, StorageError, TakenError where the hub is open.
    """
    if not (source / CHECKPOINT).is_file():
        raise MissingError(f"{source} is not a whole back-up of a hub", "name the folder of a back-up")
    private_folder(folder)
    use = InUse(folder, alone=True)
    try:
        return _restore(source, folder, seen)
    finally:
        use.release()


def _restore(source: Path, folder: Path, seen: Sequence[str]) -> Checkpoint:
    fresh = folder / f"{DATABASE}.restored"
    with data_errors(folder), storage_errors(folder):
        for left in folder.glob(f"{fresh.name}*"):
            left.unlink()
        shutil.copyfile(source / DATABASE, fresh)
        fresh.chmod(0o600)
        try:
            roots = _joined_roots(source, folder)
            said = _check(fresh, roots, [*seen, *_checkpoints(source, folder)])
            _place(source, folder, fresh)
        finally:
            for left in folder.glob(f"{fresh.name}*"):
                left.unlink()
    return said


def _check(path: Path, roots: Sequence[Root], seen: Sequence[str]) -> Checkpoint:
    """The database is whole, its hashes are those of its entries, and its log is the one of all of `seen`."""
    database = SqliteDatabase(path)
    schema.prepare(database)
    verifiers = [note.Verifier(each.origin, each.online) for each in roots]
    with database.reading() as work:
        row = work.one("pragma integrity_check")
        if not row or row[0] != "ok":
            raise StorageError("the database of the back-up is damaged", "take another one")
        check_entries(work)
        for text in seen:
            said, envelope = checkpoint.parse(text)
            envelope.verify(verifiers)
            logbook.check_grown(work, said, "the back-up")
        size = logbook.size(work)
        return Checkpoint(roots[-1].origin, size, logbook.tree(work, size).root())


def check_entries(work: Work) -> None:
    """Whether the hashes of the log are those of its entries, without a gap: nobody changed a row of it.

    Raises: HistoryError.
    """
    size = logbook.size(work)
    row = work.one("select count(*), max(log_index) from operations")
    if row and int(row[0]) and (int(row[0]), int(row[1])) != (size, size - 1):
        raise HistoryError(
            f"the log has hashes of {size} entries, and {int(row[0])} entries", "take another back-up"
        )
    for first in range(0, size, AT_ONCE):
        last = min(first + AT_ONCE, size)
        leaves = [merkle.leaf(each) for each in logbook.entries(work, first, last)]
        if leaves != logbook.row(work, 0, first, last):
            raise HistoryError(
                f"an entry of the log between {first} and {last} was changed", "take another back-up"
            )
    for level in range(1, 9):
        hashes = size >> (8 * level)
        for number in range(hashes):
            below = logbook.row(work, level - 1, number << 8, (number + 1) << 8)
            if [merkle.fold(below)] != logbook.row(work, level, number, number + 1):
                raise HistoryError("a hash of the log was changed", "take another back-up")


def _place(source: Path, folder: Path, fresh: Path) -> None:
    """Put what was checked in place; killed in between, running it again completes it."""
    old = folder / DATABASE
    if old.exists():
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        for suffix in ("-wal", "-shm", ""):
            part = old.with_name(old.name + suffix)
            if part.exists():
                part.rename(folder / f"{DATABASE}.before-{stamp}{suffix}")
    fresh.rename(old)
    newest = root.parse(rootnotes.read(source))[0].version
    have = root.parse(rootnotes.read(folder))[0].version if (folder / rootnotes.NEWEST).exists() else 0
    if newest > have:
        for path in _root_notes(source):
            write_atomic(folder / path.name, path.read_bytes(), 0o600, sync=True)
    if not (folder / CHECKPOINT).exists():
        write_atomic(folder / CHECKPOINT, (source / CHECKPOINT).read_bytes(), 0o600, sync=True)
    sync_folder(folder)


def _joined_roots(source: Path, folder: Path) -> list[Root]:
    """All versions of the root, verified from the first one on; both folders must be of one hub."""
    lines = [_roots(place) for place in (source, folder) if (place / rootnotes.NEWEST).exists()]
    longest = max(lines, key=len)
    if any(line != longest[: len(line)] for line in lines):
        raise TrustError(f"the back-up in {source} is of another hub than {folder}")
    return longest


def _roots(folder: Path) -> list[Root]:
    newest = root.verify(rootnotes.read(folder))
    line = [root.verify(rootnotes.read(folder, 1))]
    for version in range(2, newest.version + 1):
        line.append(root.verify(rootnotes.read(folder, version), line[-1]))
    return line


def _root_notes(folder: Path) -> list[Path]:
    return sorted(folder.glob("root*.note"))


def _checkpoints(source: Path, folder: Path) -> list[str]:
    paths = [place / CHECKPOINT for place in (source, folder)]
    return [path.read_text(errors="replace") for path in paths if path.exists()]
