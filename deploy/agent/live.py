"""What is live on this host, and what was healthy before it; the trees, and the links that make them live."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from deploy.agent import durable
from deploy.agent.errors import AgentError
from deploy.agent.layout import KINDS, Layout
from deploy.agent.manifest import Manifest


@dataclass(frozen=True)
class Live:
    """One release on this host. `tars`: SHA-256 of the kept tar, by kind of tree."""

    release: str
    sequence: int
    ampify: str
    instance: str
    secrets: str = ""
    commit: str = ""
    tars: dict[str, str] = field(default_factory=dict)
    healthy: bool = False


def of_manifest(manifest: Manifest, sequence: int, platform: str) -> Live:
    """What a manifest makes live here.

    Raises: AgentError where it has nothing for this platform.
    """
    trees = manifest.trees.get(platform)
    if trees is None:
        raise AgentError(f"the release has no trees for {platform}", "deploy again", 5)
    return Live(
        release=manifest.release, sequence=sequence, ampify=trees["ampify"].name,
        instance=trees["instance"].name, secrets=manifest.secrets.name, commit=manifest.commit,
        tars={kind: tree.sha256 for kind, tree in trees.items()},
    )  # fmt: skip


def current(layout: Layout) -> Live | None:
    """What is live; None before the first deploy. Raises: AgentError."""
    return _read(layout, previous=False)


def previous(layout: Layout) -> Live | None:
    """What was live and healthy before it. Raises: AgentError."""
    return _read(layout, previous=True)


def _read(layout: Layout, *, previous: bool) -> Live | None:
    path = layout.previous if previous else layout.current
    kept = durable.read_json(path)
    if kept is None:
        return None
    try:
        return Live(**kept)
    except TypeError as error:
        raise AgentError(f"{path} is damaged: {error}", "see docs/deploy.md", durable.STORAGE) from error


def switch(layout: Layout, wanted: Live) -> None:
    """Make `wanted` live; what was healthy until now becomes the previous one.

    Each step alone may be repeated after a crash: `.current` is written last.

    Raises: AgentError.
    """
    now = current(layout)
    if now and now.healthy and now.release != wanted.release:
        durable.write_json(layout.previous, asdict(now), 0o644)
    for kind in KINDS:
        name = getattr(wanted, kind)
        if name:
            durable.set_link(layout.link(kind), name)
        else:
            with durable.storage(layout.link(kind)):
                layout.link(kind).unlink(missing_ok=True)
    if now is None or (now.release, now.sequence) != (wanted.release, wanted.sequence):
        durable.write_json(layout.current, asdict(wanted), 0o644)


def mark_healthy(layout: Layout) -> None:
    """Note that what is live has proved healthy: from now on it is worth going back to.

    Raises: AgentError.
    """
    now = current(layout)
    if now and not now.healthy:
        durable.write_json(layout.current, {**asdict(now), "healthy": True}, 0o644)
