"""The tree of ampzero itself: its code, its libraries for the host's platform, and what starts it."""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.agent.archive import Entry
from deploy.release import wheels
from deploy.release.committed import Read, Source, committed, entries, objects
from deploy.release.installed import NAME, installed, opener
from deploy.release.pip import UnmetError
from deploy.release.platform import Platform
from deploy.release.requirements import Library, applying, closure
from deploy.release.tree import Tree, make_tree
from lib.bundled import SITE

TOOL = Path(__file__).resolve().parent.parent.parent
"""Where this ampzero is."""
PARTS = ("ampzero.py", "lib", "keys", "deploy", "instance_template")
"""What runs on a host."""
PROJECT = "pyproject.toml"
EXTRAS = {"boot": (), "deploy": ("backports-zstd",)}
"""Extras that a host needs, and which of their libraries; an empty tuple means all."""
PROGRAM = """\
#!/bin/sh
# ampzero, run by this host's own Python 3.{python}, for which the libraries beside it are.
tree=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")") || exit 1
python=$(command -v python3.{python}) || python=python3
set -- "$python" -I "$tree/ampzero.py" "$@"
root=$(dirname -- "$(dirname -- "$tree")")
if [ -f "$root/.ampzero" ]; then
    # Typed on a host: where deploys have the instance run, as which release, and as whom.
    live=$(sed -n 's/.*"release": "\\([0-9a-f]*\\)".*/\\1/p' "$root/dist/.current" 2>/dev/null)
    export AMPZERO_ROOT="${{AMPZERO_ROOT:-$root/var}}" AMPZERO_RELEASE="${{AMPZERO_RELEASE:-$live}}"
    owner=$(stat -c %U -- "$root")
    if [ "$(id -u)" = 0 ] && [ "$owner" != root ]; then
        HOME=$root exec runuser -u "$owner" -- "$@"
    fi
fi
exec "$@"
"""


def tool_tree(tool: Path, platform: Platform, cache: Path) -> tuple[Tree, list[wheels.Wheel]]:
    """The tree, and the libraries in it: in the versions that are installed here, where they are.

    Raises: TakenError that names changed files; MissingError that names what has no wheel; AmpzeroError.
    """
    with _opened(tool) as (source, read):
        declared, version = _declared(tool, source, read)
        roots = applying(_wanted(declared), platform, EXTRAS)
        try:
            libraries = wheels.choose(roots, platform, cache, _here(roots, platform))
        except UnmetError:
            # A newer Python there, say: the versions of here have no wheels for it.
            libraries = wheels.choose(roots, platform, cache, {})
        own = [
            Entry("bin/ampzero", 0o755, PROGRAM.format(python=platform.python).encode()),
            Entry(f"{SITE}/{NAME}-{version}.dist-info/METADATA", 0o644, _metadata(version, declared)),
        ]
        files = [each for each in source.files if each.path != PROJECT]

        def make() -> list[Entry]:
            return [*entries(files, read), *own, *wheels.unpack(libraries, SITE)]

        recipe = [*source.identity, *(str(each.data) for each in own), *(each.sha256 for each in libraries)]
        return make_tree("ampify", recipe, make, source.mtime, cache), libraries


@contextmanager
def _opened(tool: Path) -> Iterator[tuple[Source, Read]]:
    """The files of a checkout as committed, else those that were installed."""
    if (tool / ".git").exists():
        with objects(tool) as read:
            yield committed(tool, (*PARTS, PROJECT)), read
    else:
        source = installed(tool, PARTS)
        places = {file.object: file.path for file in source.files}
        yield source, lambda name: opener(tool, places[name])


def _declared(tool: Path, source: Source, read: Read) -> tuple[list[str], str]:
    """The requirements of ampzero, those of its extras marked so, and its version."""
    if (file := source.find(PROJECT)) is None:
        distribution = importlib.metadata.distribution(NAME)
        return distribution.requires or [], distribution.version
    project = tomllib.loads(read(file.object).read().decode())["project"]
    declared = list(project["dependencies"])
    for extra, lines in project["optional-dependencies"].items():
        declared += [_of_extra(line, extra) for line in lines]
    return declared, project["version"]


def _of_extra(line: str, extra: str) -> str:
    """The requirement as a package's metadata has it."""
    requirement, _, marker = map(str.strip, line.partition(";"))
    condition = f'extra == "{extra}"'
    return f"{requirement}; ({marker}) and {condition}" if marker else f"{requirement}; {condition}"


def _wanted(declared: list[str]) -> Iterator[Requirement]:
    """Those that a host needs. Extras are told by trying each marker with them."""
    for requirement in map(Requirement, declared):
        extra = next((name for name in EXTRAS if f'extra == "{name}"' in str(requirement.marker)), "")
        if not extra and "extra ==" in str(requirement.marker):
            continue
        if extra and EXTRAS[extra] and canonicalize_name(requirement.name) not in EXTRAS[extra]:
            continue
        yield requirement


def _here(roots: list[Requirement], platform: Platform) -> dict[str, str]:
    """The versions of all that `roots` need which are installed here: what was tried here runs there."""
    found: dict[str, str] = {}

    def look(name: str) -> Library | None:
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            return None
        if "+" not in distribution.version:  # built here: no index has it
            found[name] = distribution.version
        return Library(distribution.version, tuple(map(Requirement, distribution.requires or [])))

    needed, _ = closure(roots, look, platform)
    return {name: version for name, version in found.items() if name in needed}


def _metadata(version: str, declared: list[str]) -> bytes:
    """What `ampzero --version` and `ampzero doctor` read."""
    lines = [f"Name: {NAME}", f"Version: {version}", *(f"Requires-Dist: {each}" for each in declared)]
    return "\n".join(["Metadata-Version: 2.1", *lines, ""]).encode()
