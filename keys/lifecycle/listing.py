"""The key files of an instance as rows, and a hub's statement as fields: for people and as JSON."""

from __future__ import annotations

import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keys import keyfile, root
from keys.fields import MAX_BODY, moment
from keys.identities import HUB_FILE, SECRETS, Identities
from keys.reading import read_public
from keys.statement import Statement
from lib.files import storage_errors


@dataclass(frozen=True)
class Row:
    """One key file. `mode` is "" where it is not there; `encrypted` is None for public ones."""

    name: str
    mode: str
    fingerprint: str
    what: str
    encrypted: bool | None = None

    def described(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def listing(found: Identities) -> list[Row]:
    """The rows, the user's first.

    Raises: TrustError, StorageError, AmpzeroError.
    """
    rows = []
    for kind, said in (("user", found.user), ("host", found.host)):
        for part in SECRETS:
            rows.append(_secret(found.path(kind, part), part, said))
        public = found.path(kind, "public")
        until = f"{said.id} at {said.hub}, operation {said.seq}, until {moment(said.expires)}"
        rows.append(Row(public.name, _mode(public), "", until))
        chain = found.path(kind, "operations")
        rows.append(Row(chain.name, _mode(chain), "", "every operation on these keys"))
    path = found.folder / HUB_FILE
    hub = root.verify(read_public(path, MAX_BODY))
    rows.append(Row(HUB_FILE, _mode(path), hub.roots[0].fingerprint, f"root key of {hub.origin}"))
    return rows


def described(said: Statement) -> dict[str, Any]:
    """What a statement says."""
    fields: dict[str, Any] = {
        "id": said.id, "hub": said.hub, "genesis": said.genesis, "head": said.head, "seq": said.seq,
        "signing": f"{said.signing} ({said.signing.fingerprint})" if said.signing else "none: revoked",
        "control": [f"{one.key} ({one.key.fingerprint}) of {one.holder}" for one in said.control],
    }  # fmt: skip
    if said.owner:
        fields["owner"] = said.owner.id
    return {**fields, "issued": moment(said.issued), "expires": moment(said.expires)}


def _secret(path: Path, part: str, said: Statement) -> Row:
    uses = {"private": f"signs for {said.id}", "control": f"changes the keys of {said.id}"}
    if not path.exists():
        gone = "revoked" if part == "private" and said.signing is None else "not here"
        return Row(path.name, "", "", gone)
    header = keyfile.header(keyfile.read(path), str(path))
    guarded = "with a passphrase" if header.encrypted else "no passphrase"
    return Row(
        path.name, _mode(path), header.public.fingerprint, f"{uses[part]}, {guarded}", header.encrypted
    )


def _mode(path: Path) -> str:
    with storage_errors(path):
        return f"{stat.S_IMODE(path.stat().st_mode):04o}" if path.exists() else ""
