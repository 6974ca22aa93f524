"""What a host needs of a release, and how it gets from the wire to a tree: verified at each step.

Owns what is needed, the taking of pieces, the rebuilding of tars and their extraction. Nothing here is live.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import sys
import zlib
from pathlib import Path

from deploy.agent import archive, durable, patch
from deploy.agent.errors import AgentError
from deploy.agent.layout import Layout
from deploy.agent.manifest import Blob, Manifest, Tree

CHUNK = 1 << 20
MOST_FILES = 500_000
BAD = 11
"""Exit code of RefusedError: what came is not what was signed."""


def skipped(manifest: Manifest, tree: Tree) -> frozenset[str]:
    """The paths that are no part of a tree's digest: links to secrets."""
    return frozenset(manifest.secrets.files) if tree.name.startswith("instance-") else frozenset()


def is_whole(layout: Layout, manifest: Manifest, tree: Tree) -> bool:
    """Whether the tree is here, and nobody has changed it.

    Raises: AgentError.
    """
    folder = layout.tree(tree.name)
    return folder.is_dir() and archive.digest(folder, skipped(manifest, tree)) == tree.digest


def has_zstd(layout: Layout) -> bool:
    """Whether this host can apply patches: Python's own zstd, or the one in the live tool's tree."""
    site = str(layout.link("ampify") / "site")
    if site not in sys.path:
        sys.path.append(site)
    try:
        patch.load_zstd()
    except AgentError:
        return False
    return True


def needed(layout: Layout, manifest: Manifest, platform: str) -> list[str]:
    """The blobs that this host wants, one for each tree that it cannot make of what it has.

    Raises: AgentError where there is none for a tree.
    """
    wanted = []
    for tree in manifest.trees[platform].values():
        if is_whole(layout, manifest, tree) or layout.tar(tree.sha256).is_file():
            continue
        wanted.append(_choose(layout, manifest, tree))
    return wanted


def _choose(layout: Layout, manifest: Manifest, tree: Tree) -> str:
    """The smallest blob by which this host can make the tree's tar."""
    zstd = has_zstd(layout)
    usable = [
        (blob.size, sha256)
        for sha256, blob in manifest.blobs.items()
        if blob.new == tree.sha256 and (blob.kind == "full" or (zstd and layout.tar(blob.old).is_file()))
    ]
    if not usable:
        raise AgentError(f"nothing makes {tree.name} of what is here", "deploy again", 5)
    return min(usable)[1]


def put(layout: Layout, manifest: Manifest, sha256: str, offset: int, body: bytes) -> int:
    """Take a piece of a blob; how many bytes of it are here. An empty piece only asks.

    Raises: AgentError where it is not in the manifest, or is not what was signed once it is whole.
    """
    blob = manifest.blobs.get(sha256)
    if blob is None:
        raise AgentError(f"the blob {sha256[:16]} is not in the manifest", "", BAD)
    path = layout.blob(sha256)
    durable.make_folder(layout.blobs)
    have = path.stat().st_size if path.exists() else 0
    if not body or offset > have or have == blob.size:
        return have
    if offset + len(body) > blob.size:
        raise AgentError(f"the blob {sha256[:16]} is longer than was signed", "", BAD)
    with durable.storage(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.truncate(offset)
            stream.seek(offset)
            stream.write(body)
            stream.flush()
            have = offset + len(body)
            if have == blob.size:
                os.fsync(handle)
    if have == blob.size:
        check_blob(path, sha256)
    return have


def check_blob(path: Path, sha256: str) -> None:
    """Refuse, and remove, a blob that is not what was signed.

    Raises: AgentError.
    """
    if file_hash(path) != sha256:
        path.unlink(missing_ok=True)
        raise AgentError(f"the blob {sha256[:16]} arrived damaged", "deploy again", BAD)


def unpack(layout: Layout, manifest: Manifest, platform: str) -> list[str]:
    """Have every tree of the release here, aside from what is live; their names.

    Raises: AgentError.
    """
    names = []
    for tree in manifest.trees[platform].values():
        if not is_whole(layout, manifest, tree):
            _make_tar(layout, manifest, tree)
            _extract(layout, manifest, tree)
        names.append(tree.name)
    return names


def _make_tar(layout: Layout, manifest: Manifest, tree: Tree) -> None:
    tar = layout.tar(tree.sha256)
    if tar.is_file():
        if file_hash(tar) == tree.sha256:
            return
        tar.unlink()
    durable.make_folder(layout.tars)
    sha256, blob = _source(layout, manifest, tree)
    source = layout.blob(sha256)
    check_blob(source, sha256)
    aside = tar.with_suffix(".new")
    with durable.storage(aside):
        if blob.kind == "patch":
            old = layout.tar(blob.old)
            if file_hash(old) != blob.old:
                old.unlink(missing_ok=True)
                raise AgentError(
                    "the kept tar of the live release is damaged", "deploy again", durable.STORAGE
                )
            has_zstd(layout)  # puts it within reach
            patch.apply(source, old, aside)
        else:
            _gunzip(source, aside, tree.size)
        if settled_hash(aside) != tree.sha256:
            aside.unlink()
            source.unlink()
            raise AgentError(f"{tree.name} was rebuilt, and is not what was signed", "deploy again", BAD)
        aside.replace(tar)
        durable.sync_folder(layout.tars)


def _source(layout: Layout, manifest: Manifest, tree: Tree) -> tuple[str, Blob]:
    for sha256, blob in manifest.blobs.items():
        path = layout.blob(sha256)
        if blob.new == tree.sha256 and path.is_file() and path.stat().st_size == blob.size:
            return sha256, blob
    raise AgentError(f"nothing of {tree.name} has arrived", "deploy again", 5)


def _gunzip(source: Path, out: Path, limit: int) -> None:
    """Raises: AgentError where it is no gzip, or more than `limit` bytes."""
    written = 0
    with gzip.open(source) as packed, out.open("wb") as stream:
        try:
            while data := packed.read(CHUNK):
                written += stream.write(data)
                if written > limit:
                    raise AgentError("an archive is larger than was signed", "", BAD)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise AgentError(f"a bad archive: {error}", "deploy again", BAD) from error


def _extract(layout: Layout, manifest: Manifest, tree: Tree) -> None:
    place, aside = layout.tree(tree.name), layout.tree(f".new-{tree.name}")
    with durable.storage(place):
        if is_live(layout, tree.name):
            raise AgentError(
                f"{place} was changed by hand, and it is live", "deploy another release, then this one again"
            )
        for folder in (aside, place):
            shutil.rmtree(folder, ignore_errors=True)
        archive.extract(
            layout.tar(tree.sha256), aside, limit=tree.size, files=MOST_FILES, like=_live(layout, tree.name)
        )
        if archive.digest(aside, skipped(manifest, tree)) != tree.digest:
            shutil.rmtree(aside)
            raise AgentError(f"{tree.name} is not what was signed", "deploy again", BAD)
        for path in skipped(manifest, tree):
            link = aside / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            # From a folder of the tree to its neighbour `secrets`, whatever tree of secrets is live.
            link.symlink_to(f"{'../' * (path.count('/') + 1)}secrets/{path}")
            durable.sync_folder(link.parent)
        durable.sync_folder(aside)
        aside.replace(place)
        durable.sync_folder(layout.dist)


def _live(layout: Layout, name: str) -> Path | None:
    """The live tree of the same kind as the tree `name`."""
    link = layout.link(name.partition("-")[0])
    return layout.dist / link.readlink() if link.is_symlink() else None


def is_live(layout: Layout, name: str) -> bool:
    """Whether a link makes this tree the live one."""
    link = layout.link(name.partition("-")[0])
    return link.is_symlink() and link.readlink().name == name


def file_hash(path: Path) -> str:
    """SHA-256 of a file; empty where it is not.

    Raises: AgentError.
    """
    with durable.storage(path):
        try:
            with path.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except FileNotFoundError:
            return ""


def settled_hash(path: Path) -> str:
    """SHA-256 of a file as the disk has it: written out, and read again without the page cache.

    Raises: AgentError.
    """
    with durable.storage(path):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)
    return file_hash(path)
