"""Programs by their name: those that some kind of service, or ampzero itself, needs, and any other."""

from __future__ import annotations

import os
from pathlib import Path

from lib.errors import MissingError
from lib.programs.lookup import TOOLS, install_hint, locate
from lib.programs.program import Program
from lib.services import SERVICES


def known_programs() -> dict[str, Program]:
    """Every program that some kind of service or ampzero itself names, by its name."""
    programs = [program for kind in SERVICES.values() for program in kind.programs]
    return {program.name: program for program in (*TOOLS, *programs)}


def find_program(name: str) -> str:
    """The absolute path of the program `name`.

    Raises: MissingError, with the command that installs it on this machine.
    """
    if "/" in name:
        if os.access(name, os.X_OK) and Path(name).is_file():
            return name
        raise MissingError(f"{name} is not a program that can be run")
    program = known_programs().get(name) or Program(name, (name, "--version"), {})
    path = locate(program)
    if not path:
        raise MissingError(f"the program {name} is not installed", install_hint([program]))
    return path


def known_hint(name: str) -> str:
    """What a person types to install the program `name`; empty for one that is nobody's here."""
    known = known_programs().get(name)
    return install_hint([known]) if known else ""
