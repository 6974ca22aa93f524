"""`ampzero keys verify`: a folder of keys or an exported file, examined; with a hub also what is newest."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from keys import history, root, statement
from keys.datafolder import data_folder
from keys.errors import TrustError
from keys.history import History
from keys.hubapi import HubApi
from keys.lifecycle import bundle, ondisk
from keys.lifecycle.bundle import Bundle
from keys.lifecycle.examine import examine
from keys.lifecycle.report import Report


def verify_file(path: Path, now: datetime | None = None) -> Report:
    """What holds of an exported identity.

    Raises: MissingError, TrustError, StorageError.
    """
    report = Report()
    examine(bundle.read(path), report, now or datetime.now(UTC))
    report.open("not checked: whether this is the hub you mean, and whether it knows newer operations")
    return report


def verify_folder(folder: Path, hub: HubApi | None = None, now: datetime | None = None) -> Report:
    """What holds of an instance's keys in `folder`, from its files, and at `hub` where one is given.

    Raises: MissingError, TrustError, StorageError, UnreachableError.
    """
    report = Report()
    found = bundle.from_folder(folder)
    chains = examine(found, report, now or datetime.now(UTC))
    ids = _ids(found, report)
    ondisk.look(folder, ids, {kind: chain for kind, chain in chains.items() if kind in ids}, report)
    ondisk.trusted_before(folder, _known_roots(found), report)
    if hub is None:
        report.open("not checked: whether the hub knows newer operations (--online asks it)")
    else:
        for kind, chain in chains.items():
            with report.about(ids[kind]):
                _newest(hub, ids[kind], chain, report)
    return report


def _ids(found: Bundle, report: Report) -> dict[str, str]:
    ids = {}
    for kind, member in (("user", found.user), ("host", found.host)):
        try:
            ids[kind] = statement.parse(member.statement)[0].id
        except TrustError:
            continue  # `examine` has said so
    return ids


def _known_roots(found: Bundle) -> list[Path]:
    try:
        origin = root.parse(found.roots[-1])[0].origin
    except TrustError:
        return []
    hubs = data_folder() / "hubs" / origin
    return [data_folder() / "hub/root.note", hubs / "first.note", hubs / "root.note"]


def _newest(hub: HubApi, id: str, chain: History, report: Report) -> None:
    newest = history.verified(hub.operations(id))
    if newest.state.head == chain.state.head:
        report.ok(f"{id:10} the hub {hub.name} knows no newer operation")
    elif newest.begins_with(chain):
        made = newest.operations[-1].operation
        raise TrustError(
            f"SOMEBODY ELSE CHANGED THESE KEYS: the hub knows operation {made.seq} ({made.action})"
        )
    else:
        raise TrustError(f"the hub {hub.name} has another history of {id} than the one that is known here")
