"""Building a release: the tree of the tool with its libraries, and the tree of the instance with its own."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.agent.archive import Entry
from deploy.release import wheels
from deploy.release.committed import Source, committed, entries, objects
from deploy.release.platform import Platform
from deploy.release.requirements import applying, parse_file
from deploy.release.tool import TOOL, tool_tree
from deploy.release.tree import Release, Tree, make_tree
from lib.errors import AmpzeroError, MissingError
from lib.files import make_folder, storage_errors
from lib.instance import CONFIG_NAME, Instance

REQUIREMENTS = "ampnode/requirements.txt"
"""What the application modules need; it is committed with them."""
SITE_PACKAGES = "site-packages"
"""Where it is in the instance's tree."""
ID_HEX = 12


def build(instance: Instance, platform: str, cache: Path, tool: Path = TOOL) -> Release:
    """The release of what is committed now, for hosts of `platform`; made once, then found in `cache`.

    Raises: TakenError that names uncommitted files; MissingError that names what has no wheel or is not
    committed; AmpzeroError that names what cannot be in a release; StorageError.
    """
    target = Platform.parse(platform)
    source = committed(instance.directory)
    if source.find(CONFIG_NAME) is None:
        raise MissingError(
            f"{instance.directory / CONFIG_NAME} is not committed", f"git add {CONFIG_NAME} && git commit"
        )
    with _alone(cache):
        ampify, libraries = tool_tree(tool, target, cache)
        pins = wheels.versions(libraries)
        made = (ampify, _instance_tree(instance.directory, source, target, cache, pins))
    release = release_id({platform: {tree.kind: tree for tree in made}})
    return Release(release, source.commit, made, source.left_out)


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """One build at a time in a cache; what those left that were killed is removed."""
    make_folder(cache, 0o700)
    with storage_errors(cache):
        handle = os.open(cache, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for left in cache.glob("wheels/.new-*"):
            shutil.rmtree(left, ignore_errors=True)
        for left in cache.glob("tars/.new-*"):
            left.unlink(missing_ok=True)
        yield
    finally:
        os.close(handle)


def release_id(trees: Mapping[str, Mapping[str, Tree]]) -> str:
    """The name of a release: a hash over all its trees, by platform and kind."""
    lines = sorted(
        f"{platform} {kind} {tree.sha256}\n"
        for platform, kinds in trees.items()
        for kind, tree in kinds.items()
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:ID_HEX]


def _instance_tree(
    folder: Path, source: Source, platform: Platform, cache: Path, pins: Mapping[str, str]
) -> Tree:
    with objects(folder) as read:
        chosen: list[wheels.Wheel] = []
        if (file := source.find(REQUIREMENTS)) is not None:
            text = read(file.object).read().decode(errors="replace")
            chosen = _libraries(text, platform, cache, pins)
        if chosen and any(each.path.startswith(f"{SITE_PACKAGES}/") for each in source.files):
            raise AmpzeroError(
                f"{SITE_PACKAGES}/ is committed, and the place of what {REQUIREMENTS} names",
                "remove one of them",
            )

        def make() -> list[Entry]:
            return [*entries(source.files, read), *wheels.unpack(chosen, SITE_PACKAGES)]

        recipe = [*source.identity, *(wheel.sha256 for wheel in chosen)]
        return make_tree("instance", recipe, make, source.mtime, cache)


def _libraries(text: str, platform: Platform, cache: Path, pins: Mapping[str, str]) -> list[wheels.Wheel]:
    """What the application needs beside the libraries of the tool, which run in the same process.

    Where both need one it is the tool's version (`pins`): another one is an error of pip's, here and now.
    """
    asked = parse_file(text, REQUIREMENTS)
    roots = applying((each.requirement for each in asked), platform)
    chosen = [each for each in wheels.choose(roots, platform, cache, pins) if each.name not in pins]
    wheels.check_hashes(chosen, asked)
    return chosen
