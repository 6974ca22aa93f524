"""Hub: one hub on one database. Fulfils keys.hubapi.HubApi, and has beside it what a server serves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from keys import history, root
from keys.datafolder import data_errors, private_folder
from keys.errors import HeadError
from keys.fields import MAX_BODY, utc_now
from keys.hub import announcements, invites, logbook, registry, rootnotes, schema
from keys.hub.database import Database
from keys.hub.databases import open_database
from keys.hub.inuse import InUse
from keys.hub.quotas import Options
from keys.hub.registrar import Registrar
from keys.hubapi import Announced
from keys.log import checkpoint
from keys.log.checkpoint import Checkpoint
from keys.log.tile import Tile
from keys.operation import SignedOperation
from keys.reading import read_up_to
from lib.errors import MissingError
from lib.files import write_atomic

CHECKPOINT = "checkpoint"
"""The last checkpoint that was signed; outside of the database, so that it shows when that one goes back."""


class Hub:
    """One hub; make it with `open`. All of it may be used by many threads at once: see keys/hub/database.py.

    In its folder (0700): online.key, root.note and the versions before it, checkpoint, and hub.sqlite where
    no other database was chosen.
    """

    def __init__(
        self, folder: Path, database: Database, options: Options, now: Callable[[], datetime],
        use: InUse | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.database, self.options = folder, database, options
        self._now, self._use = now, use
        self._lock = threading.Lock()
        self._signed: tuple[int, str] = (-1, "")
        schema.prepare(database)
        self.reload()
        self._check_checkpoint()

    @classmethod
    def open(
        cls, folder: Path, *, database: str = "", options: Options | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> Hub:  # fmt: skip
        """The server hub in `folder` (made by keys.hub.making), on hub.sqlite or at the URL `database`.

        Raises: MissingError, HistoryError where the database is older than what the hub signed, StorageError,
        TakenError, TrustError, UsageError, AmpzeroError.
        """
        if not (folder / rootnotes.NEWEST).is_file():
            raise MissingError(f"there is no hub in {folder}", "make one first")
        private_folder(folder)
        use = InUse(folder)
        try:
            return cls(folder, open_database(folder, database), options or Options(), now, use)
        except BaseException:
            use.release()
            raise

    def close(self) -> None:
        """Close the database."""
        self.database.close()
        if self._use:
            self._use.release()

    def reload(self) -> None:
        """Read the newest root note and its online key again.

        Raises: MissingError, TrustError, StorageError, AmpzeroError.
        """
        text = rootnotes.read(self.folder)
        newest = root.verify(text)
        online = rootnotes.online_key(self.folder, newest)
        with self._lock:
            self.root, self.root_note, self._online = newest, text, online
            self._signed = (-1, "")
        with self.database.reading() as work:
            is_same = registry.are_signed_by(work, newest.online)
        if not is_same:
            with self.database.writing() as work:
                registry.sign_with(work, newest.online)

    @property
    def name(self) -> str:
        """As hub.example, or local.k3nqzb2xw7yra4tf."""
        return self.root.origin

    def root_version(self, version: int) -> str:
        """The root note `version`.

        Raises: MissingError, StorageError.
        """
        if not 1 <= version <= self.root.version:
            raise MissingError(f"the hub {self.name} has no root version {version}")
        return self.root_note if version == self.root.version else rootnotes.read(self.folder, version)

    def register(self, first: SignedOperation, invite: str = "", source: str = "") -> str:
        """Allot an id to a first operation and return its statement (a public key file).

        The same operation gives the same id again. A host's operation names its owner by genesis and holds
        the owner's signature; the owner is registered here. `source` is the address that it came from.

        Raises: TrustError, MissingError, QuotaError, RefusedError, StorageError, TakenError.
        """
        return self.adopt([first], invite, source)

    def adopt(self, operations: Sequence[SignedOperation], invite: str = "", source: str = "") -> str:
        """Take over a whole chain from another hub; what is known already is passed over.

        Raises: HeadError where this hub has another operation in one's place, and as `register`.
        """
        given = history.verified(operations)
        genesis = given.state.genesis
        with self.database.reading() as work:
            known = registry.by_genesis(work, genesis)
        if known and (len(operations) == 1 or known.head == given.state.head):
            return self.statement(known.id)
        with self.database.writing() as work:
            known = registry.by_genesis(work, genesis)
            if known is None:
                return self._registrar().add(work, given, invite, source)
            have = registry.chain(work, genesis)
            for state, other in zip(have.states, given.states, strict=False):
                if state.head != other.head:
                    raise HeadError(
                        f"this hub has another operation {state.seq} of {known.id}",
                        "see its history: ampzero hub lookup", have.state.head,
                    )  # fmt: skip
            return self._registrar().append(work, known, have, given.operations[len(have.operations) :])

    def operate(self, id: str, signed: SignedOperation) -> str:
        """Append rotate, revoke or recover to the chain of `id`; the new statement.

        Raises: HeadError where `prev` is not the newest operation; TrustError, MissingError, QuotaError,
        StorageError, TakenError.
        """
        with self.database.writing() as work:
            known = registry.find(work, id)
            if signed.operation.digest != known.head and signed.operation.prev != known.head:
                raise HeadError(
                    f"operation {signed.operation.seq} of {id} was made after another than the newest",
                    "make it again, after the newest one", known.head,
                )  # fmt: skip
            new = [] if signed.operation.digest == known.head else [signed]
            return self._registrar().append(work, known, registry.chain(work, known.genesis), new)

    def statement(self, id: str) -> str:
        """A statement about `id`; a new one where the last is over half of its life.

        Raises: MissingError, TrustError, StorageError, TakenError.
        """
        with self.database.reading() as work:
            known = registry.find(work, id)
        return known.statement if self._now().timestamp() < known.renew_after else self.renew(id)

    def renew(self, id: str) -> str:
        """A fresh statement about `id`.

        Raises: MissingError, TrustError, StorageError, TakenError.
        """
        with self.database.writing() as work:
            known = registry.find(work, id)
            return self._registrar().state_it(work, known, registry.chain(work, known.genesis))

    def knows(self, genesis: str) -> bool:
        """Whether an identity with this first operation is registered here.

        Raises: StorageError, TakenError.
        """
        with self.database.reading() as work:
            return registry.by_genesis(work, genesis) is not None

    def operations(self, id: str) -> list[str]:
        """The notes of the whole chain of `id`, the first one first.

        Raises: MissingError, StorageError, TakenError.
        """
        with self.database.reading() as work:
            return registry.notes(work, id)

    def invite(self, lifetime: timedelta = timedelta(days=7)) -> str:
        """A new one-time token to register a user with.

        Raises: StorageError, TakenError.
        """
        with self.database.writing() as work:
            return invites.create(work, lifetime, self._now())

    def announce(self, id: str, note: str, source: str = "") -> Announced:
        """Publish the host's signed `note`; `reachable` is for who dials back to know.

        Raises: HeadError where its seq does not rise; TrustError, MissingError, RefusedError where the keys
        are revoked, StorageError, TakenError.
        """
        with self.database.reading() as work:
            said, answer = announcements.check(work, id, note, source, self._now())
        with self.database.writing(durable=False) as work:
            announcements.keep(work, said, answer.head, note)
        return answer

    def announcement(self, id: str) -> str:
        """The newest announcement of `id`, to the letter.

        Raises: MissingError where there is none or it has expired; StorageError, TakenError.
        """
        with self.database.reading() as work:
            return announcements.find(work, id, self._now())

    @property
    def size(self) -> int:
        """Entries in the log."""
        with self.database.reading() as work:
            return logbook.size(work)

    def checkpoint(self) -> str:
        """The signed checkpoint of the log as it is now.

        Raises: StorageError, TakenError.
        """
        with self._lock, self.database.reading() as work:
            size = logbook.size(work)
            if size != self._signed[0]:
                # Only what is committed, and so on the disk, is ever signed.
                said = Checkpoint(self.name, size, logbook.tree(work, size).root())
                text = checkpoint.sign(said, self._online)
                with data_errors(self.folder):
                    write_atomic(self.folder / CHECKPOINT, text, 0o600)
                self._signed = (size, text)
            return self._signed[1]

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The proof that the entry `index` is in the log of `size` entries.

        Raises: TrustError where the log has no such entry, or fewer; StorageError, TakenError.
        """
        with self.database.reading() as work:
            return logbook.tree(work, size).inclusion(index)

    def consistency(self, old: int, size: int) -> list[bytes]:
        """The proof that the log of `size` entries begins with the one of `old`.

        Raises: as `inclusion`.
        """
        with self.database.reading() as work:
            return logbook.tree(work, size).consistency(old)

    def tile(self, one: Tile) -> bytes:
        """The content of a tile or of an entry bundle.

        Raises: as `inclusion`.
        """
        with self.database.reading() as work:
            return logbook.content(work, one)

    def counts(self) -> dict[str, int]:
        """How many users and hosts there are, and hosts that have announced where they are.

        Raises: StorageError, TakenError.
        """
        with self.database.reading() as work:
            return {
                "users": registry.next_number(work, "user") - 1,
                "hosts": registry.next_number(work, "host") - 1,
                "announced": announcements.count(work, self._now()),
            }

    def _registrar(self) -> Registrar:
        return Registrar(self.name, self._online, self.options, self._now())

    def _check_checkpoint(self) -> None:
        """Refuse a database that is not the one, or a continuation of it, whose log was signed last."""
        path = self.folder / CHECKPOINT
        raw = read_up_to(path, MAX_BODY)
        if raw is None:
            return
        said = checkpoint.parse(raw)[0]
        with self.database.reading() as work:
            logbook.check_grown(work, said, self.database.place)
