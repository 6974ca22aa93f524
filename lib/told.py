"""What a deploy tells this host alone: groups of files in the state folder (deploy/agent/settings.py)."""

from __future__ import annotations

from pathlib import Path

import msgspec

from lib.errors import ConfigError
from lib.files import storage_errors
from lib.instance import Instance

GROUPS = ("keyspace", "server")
SERVICES = "services.json"


class Services(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The services that this host runs beside those of every server."""

    services: list[str]


def folder(instance: Instance, group: str) -> Path:
    """Where the files of a group are."""
    return instance.state / group


def newest(instance: Instance, group: str) -> Path:
    """The same, as it will be once the release is switched that a deploy has prepared."""
    staged = instance.state / f".{group}.next"
    return staged if staged.is_dir() else folder(instance, group)


def services(instance: Instance) -> frozenset[str]:
    """The names of the services that run here and not on every server; none where no deploy said any.

    Raises: ConfigError, StorageError.
    """
    path = folder(instance, "server") / SERVICES
    with storage_errors(path):
        if not path.exists():
            return frozenset()
        data = path.read_bytes()
    try:
        return frozenset(msgspec.json.decode(data, type=Services).services)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: {error}", "a deploy writes it anew") from error
