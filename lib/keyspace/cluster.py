"""The keyspace cluster that an instance on a host belongs to, as a deploy tells it.

`state/keyspace/cluster.json` names the three members and which of them this host is, if it is one; the PEM
files beside it are this host's own: ca.pem, client.pem, client.key, and a member's member.pem, member.key.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from lib import told
from lib.errors import ConfigError
from lib.files import storage_errors
from lib.instance import Instance
from lib.keyspace.credentials import VARIABLES

FOLDER = "keyspace"
"""The group of files that a deploy tells."""
MEMBERS = 3


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One etcd: its name, and where clients and the others reach it (https://host:port)."""

    name: str
    client_url: str
    peer_url: str


class Cluster(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The members in order; `own` is the number of this host's, None where it runs none. `token` tells the
    cluster from others; `state` is etcd's: new, or existing for a member that comes back empty."""

    members: tuple[Member, ...]
    token: str
    own: int | None = None
    state: str = "new"


def folder(instance: Instance) -> Path:
    """Where what a deploy tells is."""
    return told.folder(instance, FOLDER)


def read(instance: Instance) -> Cluster | None:
    """The cluster; None for an instance whose keyspace is its own.

    Raises: ConfigError, StorageError.
    """
    return read_in(folder(instance))


def read_in(place: Path) -> Cluster | None:
    """The cluster that a folder of this kind tells of; None where it tells of none.

    Raises: ConfigError, StorageError.
    """
    path = place / "cluster.json"
    with storage_errors(path):
        if not path.exists():
            return None
        data = path.read_bytes()
    try:
        cluster = msgspec.json.decode(data, type=Cluster)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: {error}", "a deploy writes it anew") from error
    urls = [url for member in cluster.members for url in (member.client_url, member.peer_url)]
    if len(cluster.members) != MEMBERS or cluster.own not in (None, *range(MEMBERS)):
        raise ConfigError(f"{path}: not a cluster of {MEMBERS}", "a deploy writes it anew")
    if not all(url.startswith("https://") for url in urls) or cluster.state not in ("new", "existing"):
        raise ConfigError(f"{path}: makes no sense", "a deploy writes it anew")
    return cluster


def environment(place: Path, cluster: Cluster) -> dict[str, str]:
    """What tells a client where the members are, and what of the folder `place` to show them."""
    names = ("ca.pem", "client.pem", "client.key")
    paths = [str(place / name) for name in names]
    urls = ",".join(member.client_url for member in cluster.members)
    return {"KEYSPACE_URL": urls, **dict(zip(VARIABLES, paths, strict=True))}


def tls(instance: Instance) -> dict[str, str]:
    """The paths that a member's configuration names."""
    names = {"certificate": "member.pem", "key": "member.key", "ca": "ca.pem"}
    return {what: str(folder(instance) / name) for what, name in names.items()}
