"""Where a running instance's keyspace answers, and what to show there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lib.addressing import typed
from lib.errors import MissingError, NotRunningError, UsageError
from lib.files import Lock
from lib.instance import CONFIG_NAME, Instance
from lib.keyspace import cluster
from lib.kinds import kind_of
from lib.loader import load_instance
from lib.ports import remembered
from lib.root import root_directory
from lib.running import check_owner, is_running

if TYPE_CHECKING:
    from lib.keyspace.credentials import Credentials


class Place(NamedTuple):
    """The endpoints, separated by commas; `credentials` are those of a cluster."""

    url: str
    credentials: Credentials | None = None


def keyspace_of(instance: Instance) -> Place:
    """The keyspace of the instance: its own, as its ports are remembered, or the cluster that it belongs to.

    Raises: MissingError when it has none, NotRunningError; TakenError when another instance runs there.
    """
    services = instance.config.services.items()
    names = [name for name, service in services if kind_of(name, service) == "keyspace"]
    if not names:
        raise MissingError(
            f"{instance.name} has no keyspace", f"add `keyspace: {{}}` to services in {instance.config_file}"
        )
    # Another instance may run in this folder: its ports stand there, and its keys are not ours to change.
    check_owner(instance)
    if (place := _of_cluster(cluster.folder(instance))) is not None:
        return place  # it answers also where this instance is down
    port = remembered(instance.state / "ports.json").get(f"{names[0]}.1")
    if port is None or not is_running(instance):
        raise NotRunningError(f"{instance.name} is not running", f"ampzero run {typed(instance)}")
    return _alone(port)


def find_keyspace(name: str = "") -> Place:
    """The keyspace of the instance `name`; or of this folder's; or of the only one that runs.

    Raises: MissingError, NotRunningError, ConfigError, UsageError when several run.
    """
    if name or (Path.cwd() / CONFIG_NAME).exists():
        return keyspace_of(load_instance(name or "."))
    root = root_directory(None, Path.cwd())
    held = [lock.parent.parent for lock in sorted(root.glob("*/run/lock")) if Lock(lock).is_held()]
    found = {var.name: place for var in held if (place := _in_var(var)) is not None}
    if len(found) > 1:
        raise UsageError(f"several instances run here: {', '.join(found)}", "name one with -i NAME")
    if not found:
        raise NotRunningError(f"no instance with a keyspace runs below {root}", "name one with -i NAME")
    return next(iter(found.values()))


def _in_var(var: Path) -> Place | None:
    if (place := _of_cluster(var / "state" / cluster.FOLDER)) is not None:
        return place
    port = remembered(var / "state/ports.json").get("keyspace.1")
    return None if port is None else _alone(port)


def _of_cluster(folder: Path) -> Place | None:
    from lib.keyspace.credentials import credentials

    found = cluster.read_in(folder)
    if found is None:
        return None
    environment = cluster.environment(folder, found)
    return Place(environment["KEYSPACE_URL"], credentials(environment))


def _alone(port: int) -> Place:
    return Place(f"http://127.0.0.1:{port}")
