"""Everything public about an identity in one file, so that it can be verified without any hub.

JSON: the hub's root notes, and of the user and of its host the statement, the whole chain of operations and,
where the hub gives one, the proof that its newest operation is in the hub's log. All that counts is in notes,
which are signed; the rest only holds them together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from keys import fields, history, operation, statement
from keys.errors import TrustError
from keys.fields import MAX_BODY
from keys.hubapi import HubApi
from keys.hubwire import Proof
from keys.identities import HUB_FILE, Identities, public_file
from keys.lifecycle.hubside import root_notes
from keys.log import checkpoint, entry
from keys.reading import RESTORE, read_up_to
from keys.statement import Statement
from lib.errors import MissingError

if TYPE_CHECKING:
    from keys.hubclient.logwatch import LogWatch

FORMAT = "ampzero/bundle/v1"
MAX_FILE = 2 * history.MAX_FILE
MAX_ROOTS = 100
MAX_CERTIFICATE = 64 * 1024


class Member(msgspec.Struct, forbid_unknown_fields=True):
    """A user or a host: notes as they were signed. `index` and `proof` are about the newest operation."""

    statement: str
    operations: list[str]
    proof: Proof | None = None


class Bundle(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`roots` has the hub's oldest root note first; `pin` and `certificate` are the host's for TLS, or ""."""

    format: str = FORMAT
    roots: list[str]
    user: Member
    host: Member
    pin: str = ""
    certificate: str = ""


@runtime_checkable
class Logging(Protocol):
    """A hub in this process: its log can be read."""

    def checkpoint(self) -> str:
        """The signed checkpoint."""

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The hashes that lead from an entry to the checkpoint of `size` entries."""


@runtime_checkable
class Watching(Protocol):
    """A client of a hub elsewhere."""

    @property
    def log(self) -> LogWatch:
        """What asks for proofs."""


def from_folder(folder: Path) -> Bundle:
    """What the public files of an instance say; `folder` is that of its keys. Nothing of it is believed.

    Raises: MissingError, TrustError, StorageError.
    """
    members = []
    for kind in ("user", "host"):
        public = public_file(folder, kind)
        chain = public.with_name(public.name.replace(".public.", ".operations."))
        with _named(public):
            said = _read(public, MAX_BODY)
            statement.parse(said)
        with _named(chain):
            notes = history.split(_read(chain, history.MAX_FILE))
            for note in notes:
                operation.parse(note)
        members.append(Member(said, notes))
    return _bundle(folder, [_read(folder / HUB_FILE, MAX_BODY)], members)


def from_hub(hub: HubApi, folder: Path, identities: Identities) -> Bundle:
    """The same as the hub has it now, with what proves it.

    Raises: TrustError, MissingError, UnreachableError, StorageError.
    """
    members = []
    for said in (identities.user, identities.host):
        text, notes = hub.statement(said.id), hub.operations(said.id)
        members.append(Member(text, notes, _proof(hub, statement.parse(text)[0], notes)))
    return _bundle(folder, root_notes(hub, _read(folder / HUB_FILE, MAX_BODY)), members)


def encode(bundle: Bundle) -> bytes:
    """The file."""
    return msgspec.json.format(msgspec.json.encode(bundle), indent=1) + b"\n"


def decode(raw: bytes, where: str) -> Bundle:
    """The bundle in the content of a file; nothing of it is believed.

    Raises: TrustError.
    """
    try:
        if len(raw) > MAX_FILE:
            raise TrustError(f"more than {MAX_FILE} bytes")
        found = msgspec.json.decode(raw, type=Bundle)
        if found.format != FORMAT or not 1 <= len(found.roots) <= MAX_ROOTS:
            raise TrustError("another format")
        return found
    except (msgspec.MsgspecError, UnicodeDecodeError, TrustError) as error:
        raise TrustError(
            f"{where} is not an exported identity ({error})", "it is made by: ampzero keys export"
        ) from error


def read(path: Path) -> Bundle:
    """The bundle in a file.

    Raises: MissingError, TrustError, StorageError.
    """
    raw = read_up_to(path, MAX_FILE)
    if raw is None:
        raise MissingError(f"no file {path}")
    return decode(raw, str(path))


def _bundle(folder: Path, roots: list[str], members: list[Member]) -> Bundle:
    """These notes, and what the host's TLS has beside them."""
    pin, certificate = (folder.parent / "nginx" / name for name in ("server.pin", "server.cert"))
    made = Bundle(roots=roots, user=members[0], host=members[1])
    if pin.is_file() and certificate.is_file():
        made.pin, made.certificate = _read(pin, MAX_BODY), _read(certificate, MAX_CERTIFICATE)
    return made


def _proof(hub: HubApi, said: Statement, notes: list[str]) -> Proof | None:
    """That the newest operation is in the hub's log, where the hub has one."""
    raw = entry.encode(said.id, notes[-1])
    if isinstance(hub, Watching):
        return hub.log.evidence(raw, said.index)
    if isinstance(hub, Logging):
        text = hub.checkpoint()
        size = checkpoint.parse(text)[0].size
        return Proof(text, [fields.encode(hash) for hash in hub.inclusion(said.index, size)])
    return None


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What cannot be a note at all is a damaged file: say which."""
    try:
        yield
    except TrustError as error:
        raise TrustError(f"{path}: {error.message}", RESTORE) from error


def _read(path: Path, limit: int) -> str:
    raw = read_up_to(path, limit)
    if raw is None:
        raise MissingError(f"no file {path}", f"{RESTORE}; or: ampzero keys export")
    return raw.decode(errors="replace")
