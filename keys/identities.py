"""The key files of an instance: made once, read back; what changes them is keys/lifecycle's.

Of the user and of the host each: private, control, public (the hub's statement), operations (the chain that
the statement is about); and hub.public.key.

No id is burnt: all key material is on the disk, in a folder of the user's own (`pending`), before a hub is
asked; a second try after a crash finds it and gets the same ids for the same first operations.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from keys import firstkeys, keyfile, operation, root, statement
from keys.datafolder import data_errors, private_folder
from keys.errors import TrustError
from keys.fields import MAX_BODY
from keys.hubapi import HubApi
from keys.keyfile import MAX_FILE
from keys.movedfiles import settle
from keys.reading import RESTORE, read_public, read_up_to
from keys.statement import Statement
from lib.errors import MissingError, TakenError
from lib.files import Lock, make_folder, storage_errors, sync_folder, write_new

HUB_FILE = "hub.public.key"
PREVIOUS = ".previous"
"""Ends the name of a key file while another takes its place (keys/lifecycle/placing.py)."""
SECRETS = ("private", "control")


@dataclass(frozen=True)
class Identities:
    """The instance's user and host. `encrypted` says that private keys may be committed to git.

    `warnings` are about stale statements. Paths: `path("user", "private")`. `previous` are the files whose
    predecessors, beside them, hold for now: a change of the keys was interrupted there.
    """

    folder: Path
    user: Statement
    host: Statement
    encrypted: bool
    warnings: tuple[str, ...] = ()
    previous: frozenset[str] = frozenset()

    @property
    def user_id(self) -> str:
        """As user-23."""
        return self.user.id

    @property
    def host_id(self) -> str:
        """As host-7."""
        return self.host.id

    @property
    def hub(self) -> str:
        """The name of the hub that signed."""
        return self.user.hub

    def path(self, kind: str, part: str) -> Path:
        """The file of "user" or "host", "private", "control", "public" or "operations"."""
        name = f"{self.user_id if kind == 'user' else self.host_id}.{part}.key"
        return self.folder / (name + PREVIOUS if name in self.previous else name)


def create_identities(
    folder: Path,
    *,
    hub: HubApi,
    pending: Path,
    passphrase: str = "",
    invite: str = "",
    now: datetime | None = None,
) -> Identities:
    """Make the key files of a user and a host in `folder`, which exists.

    With a passphrase all four private and control keys are encrypted. `invite` is for a hub that wants one.
    Call `finish_pending(pending)` once the files are where they stay. Run again after a crash, with the same
    `pending`, it gives the same ids.

    Raises: TakenError where another process is at it or a key file is there already; PassphraseError where
    the earlier try had another passphrase; StorageError, TrustError, UsageError.
    """
    with data_errors(pending):
        make_folder(pending.parent, 0o700)
    private_folder(pending)
    lock = Lock(pending / "lock")
    if not lock.acquire():
        raise TakenError(
            f"another process (pid {lock.holder()}) is making these keys", "wait until it is done"
        )
    try:
        material = firstkeys.provide(pending, hub.name, passphrase, now or datetime.now(UTC))
        files = {HUB_FILE: (hub.root_note, 0o644)}
        for party in (material.user, material.host):
            first = operation.parse(party.operation)
            firstkeys.note_asked(pending, hub.name)
            public = hub.register(first, invite if first.operation.kind == "user" else "")
            said = statement.verify(public, hub.root.verifier)
            if said.genesis != first.operation.digest:
                raise TrustError(f"the hub {hub.name} made a statement about another's keys")
            id = said.id
            files[f"{id}.private.key"] = (party.private, 0o600)
            files[f"{id}.control.key"] = (party.control, 0o600)
            files[f"{id}.operations.key"] = (party.operation, 0o644)
            files[f"{id}.public.key"] = (public, 0o644)
        for name, (content, mode) in files.items():
            _place(folder / name, content, mode)
        with storage_errors(folder):
            sync_folder(folder)
        return load_identities(folder)
    finally:
        lock.release()


def finish_pending(pending: Path) -> None:
    """Forget the key material that `create_identities` kept; the files are in place now.

    Raises: StorageError.
    """
    with storage_errors(pending):
        if pending.exists():
            shutil.rmtree(pending)


def load_identities(folder: Path, now: datetime | None = None) -> Identities:
    """Read the key files of an instance back; private and control keys may be missing (a fresh clone).

    Raises: MissingError, TrustError, StorageError, AmpzeroError.
    """
    settle(folder)
    hubs = [_root(folder / HUB_FILE)]
    if (before := folder / f"{HUB_FILE}{PREVIOUS}").exists():
        hubs.append(_root(before))
    user, host = (_statement(folder, kind, hubs) for kind in ("user", "host"))
    if host.owner is None or (host.owner.id, host.owner.genesis) != (user.id, user.genesis):
        raise TrustError(f"{folder}: {host.id} does not belong to {user.id}")
    private: list[keyfile.Header | None] = []
    previous = set()
    for said in (user, host):
        for part in SECRETS:
            path, header = _secret(folder, said, part)
            if path.name.endswith(PREVIOUS):
                previous.add(path.name.removesuffix(PREVIOUS))
            if part == "private":
                private.append(header)
    warnings = [said.warning(now or datetime.now(UTC)) for said in (user, host)]
    if any(folder.glob(f"*.key{PREVIOUS}")):
        warnings.append(f"a change of the keys in {folder} was interrupted: the same command completes it")
    encrypted = all(header is not None and header.encrypted for header in private)
    return Identities(folder, user, host, encrypted, tuple(filter(None, warnings)), frozenset(previous))


def public_file(folder: Path, kind: str) -> Path:
    """The one statement of "user" or "host" in `folder`.

    Raises: MissingError, StorageError.
    """
    with storage_errors(folder):
        files = sorted(folder.glob(f"{kind}-*.public.key"))
    if len(files) != 1:
        raise MissingError(f"{len(files)} files {kind}-*.public.key in {folder}, there must be one", RESTORE)
    return files[0]


def _place(path: Path, content: str, mode: int) -> None:
    """Make one file; the very same content from an earlier try is fine, any other is never overwritten."""
    if not write_new(path, content, mode) and read_up_to(path, MAX_FILE) != content.encode():
        raise TakenError(f"{path} exists", "key files are never overwritten: move them away first")


def _root(path: Path) -> root.Root:
    """The hub's root note in a file, verified."""
    try:
        return root.verify(read_public(path, MAX_BODY))
    except TrustError as error:
        raise TrustError(f"{path}: {error.message}", RESTORE) from error


def _statement(folder: Path, kind: str, hubs: Sequence[root.Root]) -> Statement:
    """The one statement of `kind` in `folder`, verified by one of `hubs`, which are versions of one."""
    path = public_file(folder, kind)
    raw = read_public(path, MAX_BODY)
    try:
        said = statement.verify(raw, hubs[0].verifier)
    except TrustError as error:
        if len(hubs) < 2:
            raise TrustError(f"{path}: {error.message}", RESTORE) from error
        said = statement.verify(raw, hubs[1].verifier)
    if path.name != f"{said.id}.public.key" or not said.id.startswith(f"{kind}-"):
        raise TrustError(f"{path} is about {said.id}", RESTORE)
    return said


def _secret(folder: Path, said: Statement, part: str) -> tuple[Path, keyfile.Header | None]:
    """The private or control key file that fits the statement, and its clear part; None where it is missing.

    While another takes its place there are two files, and just one of them fits. A revoked identity has no
    private key.
    """
    path = folder / f"{said.id}.{part}.key"
    public = [said.signing] if part == "private" else [control.key for control in said.control]
    if public == [None]:
        return path, None
    for candidate in (path, path.with_name(path.name + PREVIOUS)):
        if candidate.exists():
            header = keyfile.header(keyfile.read(candidate), str(candidate))
            if header.public in public:
                return candidate, header
    if path.exists():
        raise TrustError(f"{path} is not a key of {said.id}", "restore it from your back-up")
    return path, None
