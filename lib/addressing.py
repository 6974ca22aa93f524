"""How to name an instance on a command line that somebody is to type: in hints, and in what `run` prints."""

from __future__ import annotations

import shlex
from pathlib import Path

from lib.errors import MissingError
from lib.instance import CONFIG_NAME, Instance, find


def typed(instance: Instance, option: str = "-f") -> str:
    """The words, quoted for a shell: `.`, `kickass`, `/a/path`, or `-f Procfile` (`logs` calls it --file)."""
    here = Path.cwd()
    if instance.config_file.name != CONFIG_NAME:
        file = instance.config_file
        return f"{option} {shlex.quote(file.name if file.parent == here else str(file))}"
    if instance.directory == here:
        return "."
    name = instance.directory.name
    try:
        short = find(name) == instance.directory
    except MissingError:
        short = False
    return shlex.quote(name if short else str(instance.directory))
