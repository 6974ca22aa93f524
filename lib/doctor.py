"""What an instance needs of this machine, checked one by one. Looks and changes nothing."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.config import Config
from lib.errors import MissingError, StorageError, TakenError
from lib.instance import Instance
from lib.kinds import kind_of
from lib.portholder import holder
from lib.ports import is_free
from lib.programs.lookup import TOOLS, Found, install_hint, look_up, version_tuple
from lib.programs.program import Program
from lib.root import can_write, root_directory
from lib.running import is_running
from lib.services import SERVICES

PYTHON = (3, 11), (3, 15)
"""The versions of Python that are supported: from, and below."""
REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*(?:>=\s*([0-9.]+))?")
"""A line of Requires-Dist as we write them: name, extras, lower bound."""


@dataclass(frozen=True)
class Check:
    """One finding. `found` is what is there, `wanted` what should be, `fix` what to do (empty: it is good).

    `exit_code` is the command's when this is the first that is not good.
    """

    name: str
    found: str
    wanted: str = ""
    fix: str = ""
    exit_code: int = MissingError.exit_code

    @property
    def good(self) -> bool:
        """Whether nothing needs to be done."""
        return not self.fix


def needed_programs(instance: Instance | None) -> list[Program]:
    """What the instance's services need, or without one what all kinds need; and ampzero's own tools."""
    kinds: Iterable[str] = kinds_of(instance) if instance else SERVICES
    programs = [*TOOLS, *(program for kind in kinds for program in SERVICES[kind].programs)]
    return list({program.name: program for program in programs}.values())


def look_for_programs(instance: Instance | None) -> list[Found]:
    """Each needed program as it is found here (this runs each for its version)."""
    return [look_up(program) for program in needed_programs(instance)]


def all_checks(programs: Iterable[Found], instance: Instance | None) -> list[Check]:
    """Every finding, in the order in which they are shown."""
    return [
        python_check(sys.version_info[:3]),
        *library_checks(),
        *(program_check(found) for found in programs),
        root_check(instance.root if instance else root_directory(None, Path.cwd())),
        *([port_check(instance)] if not instance or "nginx" in kinds_of(instance) else []),
    ]


def kinds_of(instance: Instance) -> list[str]:
    """The kind of each of the instance's services."""
    return [kind_of(name, service) for name, service in instance.config.services.items()]


def python_check(version: tuple[int, ...]) -> Check:
    """Whether this Python is one that is supported."""
    shown = ".".join(map(str, version))
    wanted = f"from {'.'.join(map(str, PYTHON[0]))} to below {'.'.join(map(str, PYTHON[1]))}"
    good = PYTHON[0] <= version[:2] < PYTHON[1]
    return Check("Python", f"{shown} ({sys.executable})", wanted, "" if good else f"use a Python {wanted}")


def library_checks() -> Iterator[Check]:
    """Whether each library that ampzero names is there and new enough."""
    try:
        lines = importlib.metadata.requires("ampzero") or []
    except importlib.metadata.PackageNotFoundError:
        lines = []  # from a clone, without an installation: what is imported here is there
    for line in lines:
        match = REQUIREMENT.match(line)
        if match and "extra ==" not in line:
            yield library_check(match[1], match[2] or "")


def library_check(name: str, minimum: str) -> Check:
    """Whether the library `name` is there, in version `minimum` at least."""
    fix = (
        f"{sys.executable} -m pip install '{name}>={minimum}'"
        if minimum
        else f"{sys.executable} -m pip install {name}"
    )
    wanted = f"{minimum} or newer" if minimum else ""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(f"library {name}", "missing", wanted, fix)
    numbers = re.match(r"\d+(\.\d+)*", version)
    old = bool(minimum and numbers) and version_tuple(numbers.group()) < version_tuple(minimum)  # type: ignore[union-attr]  # checked
    return Check(f"library {name}", version, wanted, fix if old else "")


def program_check(found: Found) -> Check:
    """Whether a program is there, runs, and is new enough."""
    program = found.program
    minimum = ".".join(map(str, program.minimum))
    wanted = f"{minimum} or newer" if minimum else ""
    if not found.path:
        return Check(program.name, "missing", wanted, install_hint([program]))
    if not found.version:
        return Check(program.name, f"{found.path} does not say its version", wanted, install_hint([program]))
    shown = f"{found.version} ({found.path})"
    if found.too_old:
        return Check(program.name, f"{shown} is too old", wanted, f"install {program.name} {wanted}")
    return Check(program.name, shown, wanted)


def root_check(root: Path) -> Check:
    """Whether the folder for everything that changes can be written."""
    if can_write(root):
        return Check("root directory", str(root), "a folder that can be written")
    fix = f"sudo install -d -o {os.getuid()} {root}, or set amprun_root_directory to a folder of yours"
    return Check("root directory", f"{root} cannot be written", "", fix, StorageError.exit_code)


def port_check(instance: Instance | None) -> Check:
    """Whether the instance's port is free, or its own."""
    port = instance.config.port if instance else Config().port
    if instance and is_running(instance):
        return Check(f"port {port}", f"{instance.name} runs")
    try:
        free = is_free(port)
    except PermissionError:
        return Check(
            f"port {port}", "needs root rights", "", "choose a port from 1024 on", TakenError.exit_code
        )
    if free:
        return Check(f"port {port}", "free")
    fix = "stop it, or choose another port in amprun.yaml"
    return Check(f"port {port}", f"taken by {holder(port) or 'another'}", "", fix, TakenError.exit_code)
