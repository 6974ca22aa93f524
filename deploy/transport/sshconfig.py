"""OpenSSH's client configuration (ssh_config(5)), with the Include that paramiko does not know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import paramiko

from lib.errors import ConfigError

DEEPEST = 16
"""Levels of Include, as in OpenSSH."""
SYSTEM = Path("/etc/ssh/ssh_config")


def read_config(file: Path | None) -> paramiko.SSHConfig:
    """OpenSSH's configuration: that one file, or else the user's and the system's.

    Raises: ConfigError.
    """
    files = [file] if file else [Path("~/.ssh/config").expanduser(), SYSTEM]
    lines = [line for one in files if one.is_file() or one == file for line in ["Host *", *_lines(one)]]
    try:
        return paramiko.SSHConfig.from_text("\n".join(lines))
    except (paramiko.SSHException, ValueError) as error:
        raise ConfigError(f"{files[0]}: {error}") from error


def _lines(file: Path, depth: int = 0) -> Iterator[str]:
    """The lines of a file, and in their place those of the files that it includes."""
    if depth > DEEPEST:
        raise ConfigError(f"{file}: includes itself")
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error
    section = "Host *"
    for line in lines:
        word, *rest = re.split(r"[\s=]+", line.strip(), maxsplit=1)
        if word.lower() in ("host", "match"):
            section = line
        if word.lower() != "include" or not rest:
            yield line
            continue
        for pattern in rest[0].split():
            # What is relative is so to the user's folder, as in ssh_config(5).
            path = Path("~/.ssh").expanduser() / Path(pattern.strip('"')).expanduser()
            for found in sorted(Path("/").glob(str(path.relative_to("/")))):
                yield from _lines(found, depth + 1)
                yield section
