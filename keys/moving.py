"""Moves an instance's user and host to another hub: the first operations stay, the ids are the new hub's.

Killed at any point, the same move completes it: the new hub gives the same ids for the same operations, and
the files change all at once (keys/movedfiles.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from keys import history, statement
from keys.errors import HistoryError, TrustError
from keys.history import History
from keys.hubapi import HubApi
from keys.hubs import open_hub
from keys.identities import HUB_FILE, SECRETS, Identities, load_identities
from keys.lifecycle.journal import Journal
from keys.movedfiles import DECIDED, LEAVING, MAKING, forget, settle
from keys.statement import LIFETIME, Statement
from lib.errors import AmpzeroError, MissingError, TakenError, UnreachableError
from lib.files import locked, storage_errors, sync_folder, write_atomic

PARTS = (*SECRETS, "public", "operations")


@dataclass(frozen=True)
class Moved:
    """The ids before and after, the user's first; `changed` says whether any file did. `warnings` are for
    the user."""

    before: tuple[str, str]
    identities: Identities
    changed: bool
    warnings: tuple[str, ...] = ()


def move(folder: Path, hub: HubApi, invite: str = "") -> Moved:
    """Have `hub` know the identities in `folder`, and the key files be of it.

    It may be the hub that they are of: it then gets what it has lost, and statements that are stale are
    renewed.

    Raises: TakenError where their keys are being changed; RefusedError, QuotaError, HeadError, TrustError,
    MissingError, UnreachableError, StorageError, AmpzeroError.
    """
    settle(folder)
    identities = load_identities(folder)
    journal = Journal(identities.user.genesis)
    with journal.locked():
        if journal.read() is not None:
            raise TakenError(
                "a change of these keys was interrupted", "complete it first: ampzero keys verify says which"
            )
        chains, warnings = _chains(folder, identities, hub)
        files: dict[str, tuple[bytes, int]] = {}
        for kind, chain in zip(("user", "host"), chains, strict=True):
            text = hub.adopt(chain.operations, invite if kind == "user" else "")
            said = _adopted(hub, text, chain, kind)
            if said.warning(datetime.now(UTC) + LIFETIME / 3):
                text = hub.statement(said.id)
                said = _adopted(hub, text, chain, kind)
            files[f"{said.id}.public.key"] = (text.encode(), 0o644)
            files[f"{said.id}.operations.key"] = (str(chain).encode(), 0o644)
            for part in SECRETS:
                path = identities.path(kind, part)
                with storage_errors(path):
                    if path.exists():
                        files[f"{said.id}.{part}.key"] = (path.read_bytes(), 0o600)
        files[HUB_FILE] = (hub.root_note.encode(), 0o644)
        leaving = [identities.path(kind, part).name for kind in ("user", "host") for part in PARTS]
        changed = _differs(folder, files)
        if changed:
            _decide(folder, files, leaving)
            settle(folder)
        after = load_identities(folder)
        return Moved((identities.user_id, identities.host_id), after, changed, tuple(warnings))


def _differs(folder: Path, files: dict[str, tuple[bytes, int]]) -> bool:
    with storage_errors(folder):
        return any(
            not (folder / name).exists() or (folder / name).read_bytes() != content
            for name, (content, _) in files.items()
        )


def _chains(folder: Path, identities: Identities, hub: HubApi) -> tuple[list[History], list[str]]:
    """The whole chains of the user and the host: as the hub before has them, else as the files do."""
    chains, warnings = [], []
    for kind, said in (("user", identities.user), ("host", identities.host)):
        kept = history.read(identities.path(kind, "operations"))
        try:
            here = hub if hub.name == identities.hub else open_hub(folder)
            newest = history.verified(here.operations(said.id))
        except (UnreachableError, MissingError) as error:
            if kept is None:
                raise
            warnings.append(f"{error.message}: taken from the key files of {said.id}")
            newest = kept
        if newest.state.genesis != said.genesis or not newest.has(said.head) or (
            kept and not newest.begins_with(kept)):  # fmt: skip
            raise HistoryError(
                f"the hub {identities.hub} has another history of {said.id} than the one that is known here",
                "do not trust that hub; keep the key files and ask who runs it",
            )
        if newest.state.head != said.head:
            raise AmpzeroError(
                f"the keys of {said.id} were changed elsewhere: number {newest.state.seq} at the hub, "
                f"{said.seq} here", "ampzero keys verify says more; ampzero keys recover if it was not you",
            )  # fmt: skip
        chains.append(newest)
    return chains, warnings


def _adopted(hub: HubApi, text: str, chain: History, kind: str) -> Statement:
    said = statement.verify(text, hub.root.verifier)
    if said.hub != hub.name or not said.id.startswith(f"{kind}-"):
        raise TrustError(f"the hub {hub.name} made a statement about another {kind}: {said.id}")
    said.check(chain.state)
    return said


def _decide(folder: Path, files: dict[str, tuple[bytes, int]], leaving: list[str]) -> None:
    """Make the whole new set aside, flush it, and rename it: from then on it is what holds."""
    making = folder / MAKING
    with storage_errors(folder), locked(folder):
        forget(making)
        making.mkdir(mode=0o700)
        try:
            for name, (content, mode) in files.items():
                write_atomic(making / name, content, mode, sync=True)
            write_atomic(making / LEAVING, "\n".join([*leaving, ""]), 0o600, sync=True)
            load_identities(making)  # what cannot be read back must not become what holds
        except BaseException:
            forget(making)
            raise
        making.rename(folder / DECIDED)
        sync_folder(folder)
