"""Who the instance is, for its modules: the ids of its public key files, and where the files are.

Reads only public files. Checking signatures is the keys package's; this module only hands the paths on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LARGEST = 64 * 1024
"""Bytes of a public key file that are looked at; ours have about 1 KiB."""


@dataclass(frozen=True)
class Identity:
    """One id with its key files. `hub` is the hub's name; `signing` the public key in OpenSSH's text form."""

    id: str
    hub: str
    signing: str
    public_file: Path
    private_file: Path


@dataclass(frozen=True)
class Identities:
    """The instance's identities; None where its folder holds no such key (a bare amprun.yaml has none)."""

    host: Identity | None
    user: Identity | None
    hub_file: Path | None


def read_fields(path: Path) -> dict[str, str]:
    """The `name: value` lines of the note's text in a `*.public.key` file; of several of a name the first."""
    with path.open("rb") as stream:
        text = stream.read(LARGEST).decode("utf-8", "replace")
    fields: dict[str, str] = {}
    for line in text.partition("\n\n")[0].splitlines():
        name, separator, value = line.partition(": ")
        if separator:
            fields.setdefault(name, value.strip())
    return fields


def read_identity(path: Path) -> Identity:
    """The identity of one `*.public.key` file."""
    fields = read_fields(path)
    stem = path.name.removesuffix(".public.key")
    return Identity(
        fields.get("id", stem), fields.get("hub", ""), fields.get("signing", ""), path,
        path.with_name(f"{stem}.private.key"),
    )  # fmt: skip


def find_identities(folder: Path) -> Identities:
    """The identities whose key files are in `folder`; the first by name where there are several."""

    def first(pattern: str) -> Identity | None:
        return next((read_identity(path) for path in sorted(folder.glob(pattern))), None)

    hub = folder / "hub.public.key"
    return Identities(first("host-*.public.key"), first("user-*.public.key"), hub if hub.is_file() else None)
