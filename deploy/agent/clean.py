"""Clearing up: what neither the live release, the one before, nor the one under way needs is removed."""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy.agent import durable, live
from deploy.agent.errors import AgentError
from deploy.agent.journal import Journal
from deploy.agent.layout import KINDS, TREE_NAME, Layout
from deploy.agent.manifest import Manifest

KEPT_DECISIONS = 100
KEPT_AGENTS = 3


def clean(layout: Layout) -> list[str]:
    """Remove what nothing names; the names. Never what a link points to. The caller holds the lock.

    Raises: AgentError.
    """
    names, tars, releases, pending = _wanted(layout)
    removed: list[str] = []
    with durable.storage(layout.dist):
        for path in sorted(layout.dist.iterdir()):
            is_tree = TREE_NAME.match(path.name) and path.name not in names
            if (is_tree or path.name.startswith((".new-", ".old-"))) and not path.is_symlink():
                _remove_tree(path)
                removed.append(path.name)
        for folder, keep in ((layout.tars, tars), (layout.blobs, pending)):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if path.stem not in keep or path.suffix == ".new":
                    path.unlink()
                    removed.append(path.name)
        for path in sorted(layout.manifests.iterdir()) if layout.manifests.is_dir() else ():
            if path.stem not in releases and not path.name.startswith("."):
                path.unlink()
        _remove_old(layout.decisions, KEPT_DECISIONS)
        _remove_agents(layout)
    return removed


def _wanted(layout: Layout) -> tuple[set[str], set[str], set[str], set[str]]:
    """The names of trees, the hashes of tars, the releases and the hashes of blobs that are needed."""
    names = {layout.link(kind).readlink().name for kind in KINDS if layout.link(kind).is_symlink()}
    tars: set[str] = set()
    releases: set[str] = set()
    blobs: set[str] = set()
    for kept in (live.current(layout), live.previous(layout)):
        if kept is not None:
            names |= {kept.ampify, kept.instance, kept.secrets}
            tars |= set(kept.tars.values())
            releases.add(kept.release)
    if entry := Journal(layout.journal).pending():
        raw = durable.read(layout.manifest(entry.release))
        if raw is None:
            raise AgentError(f"the manifest of {entry.release} is gone", "deploy again", 5)
        manifest = Manifest.parse(raw)
        for trees in manifest.trees.values():
            names |= {tree.name for tree in trees.values()}
            tars |= {tree.sha256 for tree in trees.values()}
        names.add(manifest.secrets.name)
        releases.add(entry.release)
        blobs = set(manifest.blobs)
    return names, tars, releases, blobs


def _remove_tree(path: Path) -> None:
    """Out of the way by one rename first, so that half a tree never has a tree's name."""
    aside = path.with_name(f".old-{path.name.lstrip('.')}")
    if path != aside and not aside.exists():
        path.rename(aside)
        path = aside
    shutil.rmtree(path)


def _remove_agents(layout: Layout) -> None:
    """All versions of the agent but the newest, and the one that the keeper runs."""
    found = sorted(layout.agent.glob("agent-*.pyz"), key=lambda path: path.stat().st_mtime)
    current = layout.agent / "current"
    for path in found[:-KEPT_AGENTS]:
        if not current.is_symlink() or current.readlink().name != path.name:
            path.unlink()


def _remove_old(folder: Path, keep: int) -> None:
    numbers = sorted(int(path.name) for path in folder.glob("[0-9]*")) if folder.is_dir() else []
    for number in numbers[:-keep]:
        (folder / str(number)).unlink()
