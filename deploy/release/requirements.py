"""What a set of libraries needs on a host: requirements, and their closure under the host's own variables.

pip evaluates markers (`; python_version < "3.13"`) for the Python that it runs in, whatever platform it is
asked for; so what a host needs is worked out here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from deploy.release.platform import Platform
from lib.errors import ConfigError

_HASH = re.compile(r"\s+--hash[= ](\S+)")


@dataclass(frozen=True)
class Asked:
    """One line of a requirements.txt; with `hashes` (`sha256:…`) only a file that has one of them will do."""

    requirement: Requirement
    hashes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Library:
    """One version of a library and what it requires."""

    version: str
    requires: tuple[Requirement, ...]


def parse_file(text: str, name: str) -> list[Asked]:
    """The requirements of a requirements.txt; `name` is the file's, for errors.

    Raises: ConfigError (`file:line: …`) for what pip might read from elsewhere.
    """
    found = []
    for number, line in _lines(text):
        plain = _HASH.sub("", line)
        try:
            requirement = Requirement(plain)
        except InvalidRequirement as error:
            raise ConfigError(
                f"{name}:{number}: {plain[:80]!r} is no requirement", "one a line, as: Django>=5.2,<6"
            ) from error
        if requirement.url:
            raise ConfigError(
                f"{name}:{number}: {requirement.name} is at an address", "only what an index has is deployed"
            )
        found.append(Asked(requirement, tuple(_HASH.findall(line))))
    return found


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and content of each logical line that is not empty."""
    joined, begun = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        begun = begun or number
        if line.endswith("\\"):
            joined += line[:-1]
            continue
        content = re.sub(r"(^|\s)#.*", "", joined + line).strip()
        if content:
            yield begun, content
        joined, begun = "", 0


def applying(
    requirements: Iterable[Requirement], platform: Platform, extras: Iterable[str] = ()
) -> list[Requirement]:
    """Those whose marker holds on the platform (or has none), for any of `extras`; without their markers."""
    found = []
    for requirement in requirements:
        variables = [{**each, "extra": extra} for each in platform.environments() for extra in ("", *extras)]
        if requirement.marker is None or any(map(requirement.marker.evaluate, variables)):
            plain = Requirement(str(requirement))
            plain.marker = None
            found.append(plain)
    return found


def closure(
    roots: Iterable[Requirement], look: Callable[[str], Library | None], platform: Platform
) -> tuple[set[str], list[Requirement]]:
    """The names of all that `roots` need on the platform, and the requirements that `look` does not meet.

    `look` gives the library of a canonical name.
    """
    needed: set[str] = set()
    unmet: dict[str, Requirement] = {}
    waiting, seen = list(roots), set()
    while waiting:
        requirement = waiting.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        name = canonicalize_name(requirement.name)
        library = look(name)
        if library is None or not requirement.specifier.contains(library.version, prereleases=True):
            unmet[str(requirement)] = requirement
        else:
            needed.add(name)
            waiting += applying(library.requires, platform, requirement.extras)
    return needed, [unmet[key] for key in sorted(unmet)]
