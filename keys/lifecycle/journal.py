"""A change of keys that is under way, on the disk before any hub hears of it.

In the user's data folder (0700), by the user's first operation, so that an instance that was moved meanwhile
finds it again. One change at a time.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from keys.datafolder import data_errors, data_folder, private_folder
from keys.errors import TrustError
from keys.reading import read_up_to
from lib.errors import TakenError
from lib.files import Lock, make_folder, storage_errors, sync_folder, write_atomic

CHANGE_FILE = "change.json"
MAX_FILE = 8 * 1024 * 1024


class Step(msgspec.Struct, forbid_unknown_fields=True):
    """One operation: whose, its note, and the new key files (`private`, `control`) that come with it.

    `retire` are the parts whose files go without another in their place.
    """

    id: str
    operation: str
    secrets: dict[str, str] = {}
    retire: list[str] = []


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """What is done, in its order. `command` tells whether it is what is asked for now.

    `files` are the public files by name; empty until the hub has taken every operation. `beside` are files of
    the instance, by path, that the new keys sign. `warnings` say what it does not reach.
    """

    command: str
    steps: list[Step]
    files: dict[str, str] = {}
    beside: dict[str, str] = {}
    warnings: list[str] = []


class Journal:
    """The change of one user's keys, where one is under way."""

    def __init__(self, genesis: str) -> None:
        """`genesis` is the digest of the user's first operation."""
        name = hashlib.sha256(base64.b64decode(genesis)).hexdigest()[:32]
        self.folder = data_folder() / "pending" / f"keys-{name}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the right to change these keys.

        Raises: TakenError, StorageError, AmpzeroError.
        """
        with data_errors(self.folder):
            make_folder(self.folder.parent, 0o700)
        lock = Lock(private_folder(self.folder) / "lock")
        if not lock.acquire():
            raise TakenError(
                f"another process (pid {lock.holder()}) is changing these keys", "wait until it is done"
            )
        try:
            yield
        finally:
            lock.release()

    def read(self) -> Change | None:
        """The change that is under way.

        Raises: TrustError, StorageError.
        """
        path = self.folder / CHANGE_FILE
        raw = read_up_to(path, MAX_FILE)
        try:
            return None if raw is None else msgspec.json.decode(raw, type=Change)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # also what was cut off
            raise TrustError(
                f"{path} does not hold an interrupted change of keys",
                f"look at it, then remove {self.folder}",
            ) from error

    def write(self, change: Change) -> None:
        """Note how far it is.

        Raises: StorageError.
        """
        with data_errors(self.folder):
            write_atomic(self.folder / CHANGE_FILE, msgspec.json.encode(change), 0o600, sync=True)

    def forget(self) -> None:
        """The change is done, or can never be.

        Raises: StorageError.
        """
        with storage_errors(self.folder):
            (self.folder / CHANGE_FILE).unlink(missing_ok=True)
            sync_folder(self.folder)
