"""What a deploy tells this host alone: its certificates of the keyspace, which services it runs.

A group of files is a folder `state/GROUP-<hex>` of the instance; the link `state/GROUP` is what the instance
reads. New ones are named by `state/.GROUP.next`, and become the instance's when its release is switched.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from deploy.agent import durable
from deploy.agent.errors import AgentError
from deploy.agent.layout import Layout

GROUPS = {
    "keyspace": ("cluster.json", "ca.pem", "client.pem", "client.key", "member.pem", "member.key"),
    "server": ("services.json",),
}
"""The files that each group may have; lib/keyspace/cluster.py and lib/told.py read them."""
PRIVATE = ".key"
LARGEST = 64 * 1024
REFUSED = 11


def told(layout: Layout, instance: str) -> dict[str, dict[str, str]]:
    """What the instance was told, group by group, as text; without the private keys.

    Raises: AgentError.
    """
    found: dict[str, dict[str, str]] = {}
    for group, names in GROUPS.items():
        folder = _state(layout, instance) / group
        files = {name: durable.read(folder / name) for name in names if not name.endswith(PRIVATE)}
        if any(files.values()):
            found[group] = {name: data.decode(errors="replace") for name, data in files.items() if data}
    return found


def parse(body: bytes) -> dict[str, object]:
    """The groups in a request's body.

    Raises: AgentError.
    """
    try:
        groups = json.loads(body)
    except (ValueError, RecursionError):
        groups = None
    if not isinstance(groups, dict):
        raise AgentError("the request's settings are none", "", REFUSED)
    return groups


def take(layout: Layout, instance: str, groups: Mapping[str, object]) -> None:
    """Keep what the instance will be told by the release that is staged; a group that is not named stays.

    Raises: AgentError for files that no group has, and where they cannot be written.
    """
    state = _state(layout, instance)
    wanted = {group: _checked(group, files) for group, files in groups.items()}
    durable.make_folder(state.parent, 0o755)
    durable.make_folder(state)
    for group in GROUPS:
        with durable.storage(state):
            _next(state, group).unlink(missing_ok=True)
        if group in wanted:
            name = f"{group}-{os.urandom(8).hex()}"
            durable.make_folder(state / name)
            for file, text in wanted[group].items():
                durable.write(state / name / file, text.encode())
            durable.set_link(_next(state, group), name)
        _remove_old(state, group)


def adopt(layout: Layout, instance: str) -> None:
    """Have the instance read what was taken last. May be repeated after a crash.

    Raises: AgentError.
    """
    state = _state(layout, instance)
    for group in GROUPS:
        link = _next(state, group)
        if not link.is_symlink():
            continue
        place = state / group
        with durable.storage(place):
            if place.is_dir() and not place.is_symlink():
                place.rename(state / f"{group}-{os.urandom(8).hex()}")  # it was made by hand
            durable.set_link(place, link.readlink().name)
            link.unlink()
        _remove_old(state, group)


def _state(layout: Layout, instance: str) -> Path:
    return layout.instance_var(instance) / "state"


def _next(state: Path, group: str) -> Path:
    return state / f".{group}.next"


def _checked(group: str, files: object) -> dict[str, str]:
    known = GROUPS.get(group)
    if known is None or not isinstance(files, dict) or not files.keys() <= set(known):
        raise AgentError(f"a host is told nothing of {group[:40]!r} with these files", "", REFUSED)
    if not all(isinstance(text, str) and len(text) <= LARGEST for text in files.values()):
        raise AgentError(f"what this host is told of {group} is too large", "", REFUSED)
    return {str(name): str(text) for name, text in files.items()}


def _remove_old(state: Path, group: str) -> None:
    links = (state / group, _next(state, group))
    kept = {link.readlink().name for link in links if link.is_symlink()}
    with durable.storage(state):
        for folder in state.glob(f"{group}-*"):
            if folder.name not in kept:
                shutil.rmtree(folder)
