"""What every importer gives: services in amprun.yaml's own words, and what could not be carried over.

Owns the shared types and the bounded reading of a file. An importer never runs a command of the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.config import NAME_PATTERN
from lib.errors import ConfigError, MissingError
from lib.files import storage_errors
from lib.kinds import KINDS
from lib.yamlnodes import tame

LARGEST_FILE = 1_000_000
MOST_FILES = 100
"""Files that a file may include."""
MOST_PROCESSES = 1000
"""As `processes` allows in amprun.yaml."""
RESERVED = ("supervisor",)
Values = dict[str, Any]


@dataclass(frozen=True)
class Note:
    """Something of the file that the services do not have; as text `FILE:LINE: KEY: what`."""

    file: str
    line: int
    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {tame(self.key)}: {tame(self.what, 300)}"


@dataclass
class Imported:
    """What a file said. `services`: by name, the keys of amprun.yaml that differ from the defaults.

    `secrets`: by service, variables whose values were taken from the environment or a `.env` file: a run
    gives them to the process, but they are written into no file that git sees. `lines`: where each service
    begins.
    """

    file: Path
    services: dict[str, Values] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def lost(self, line: int, key: str, why: str) -> None:
        """Note that `key` is not carried over, and why."""
        self.notes.append(Note(str(self.file), line, key, f"not carried over: {why}"))

    def changed(self, line: int, key: str, what: str) -> None:
        """Note that `key` is carried over, but not as it is written."""
        self.notes.append(Note(str(self.file), line, key, what))

    def add(self, raw_name: str, line: int, values: Values) -> str:
        """Add a service; its name here.

        Raises: ConfigError when there is no name to make of it, or it stands twice.
        """
        name = service_name(raw_name)
        if not name:
            raise ConfigError(f"{self.file}:{line}: {tame(raw_name)!r} is not a name for a service")
        if name in self.services:
            raise ConfigError(f"{self.file}:{line}: {name!r} stands twice")
        if name != raw_name:
            self.changed(line, raw_name, f"is called {name} here")
        if name in KINDS:  # it has a command, so it is not of that kind
            values = {"kind": "command", **values}
        self.services[name] = values
        self.lines[name] = line
        return name

    def config_services(self) -> dict[str, Values]:
        """The services as a run needs them: with the values of `secrets` in their environment."""
        return {
            name: {**values, "env": {**values.get("env", {}), **self.secrets[name]}}
            if self.secrets.get(name)
            else values
            for name, values in self.services.items()
        }

    def depend(self, conditions: Mapping[str, Mapping[str, tuple[str, int]]]) -> None:
        """Set `depends_on` of all services: {service: {raw name of the other: (condition, line)}}.

        The ones that are not carried over are left out and noted. Names are the file's own.
        """
        for raw, wanted in conditions.items():
            kept: dict[str, str] = {}
            for other, (condition, line) in wanted.items():
                if service_name(other) in self.services:
                    kept[service_name(other)] = condition
                else:
                    self.lost(line, f"{raw}.depends_on.{other}", "that service is not carried over itself")
            name = service_name(raw)
            if kept and name in self.services:
                self.services[name]["depends_on"] = kept


@dataclass(frozen=True)
class Format:
    """One line of the table of formats. `extra` says that it needs the libraries of ampzero[import]."""

    name: str
    read: Callable[[Path, bytes], Imported]
    file_names: str
    """A regular expression over the file's name."""
    content: str
    """A regular expression (with MULTILINE) that finds something only this format has."""


def service_name(raw: str) -> str:
    """`raw` as a service may be called: small letters, digits, - and _; empty when nothing is left of it."""
    name = re.sub(r"[^a-z0-9_-]+", "-", raw.strip().lower())[:32].strip("-")
    name = f"{name}-1"[-32:] if name in RESERVED else name
    return name if re.fullmatch(NAME_PATTERN, name) else ""


def read_bytes(path: Path) -> bytes:
    """The file at `path`.

    Raises: MissingError, ConfigError (too large), StorageError.
    """
    if not path.is_file():
        raise MissingError(f"no file {path}")
    with storage_errors(path), path.open("rb") as stream:
        raw = stream.read(LARGEST_FILE + 1)
    if len(raw) > LARGEST_FILE:
        raise ConfigError(f"{path}:1: the file is larger than {LARGEST_FILE} bytes")
    return raw


def decode(path: Path, raw: bytes) -> str:
    """The text of a file.

    Raises: ConfigError (`file:line`).
    """
    if len(raw) > LARGEST_FILE:
        raise ConfigError(f"{path}:1: the file is larger than {LARGEST_FILE} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{at}: the file is not UTF-8") from error
    if "\0" in text:
        raise ConfigError(f"{path}:{text.count(chr(10), 0, text.index(chr(0))) + 1}: a zero byte")
    return text


def missing_parser(library: str, error: ImportError) -> MissingError:
    """What to say where the library that reads a format is not installed."""
    import sys

    return MissingError(
        f"reading this format needs the Python library {library!r}: no module {error.name or library}",
        f"{sys.executable} -m pip install 'ampzero[import]'",
    )


def surroundings(path: Path) -> dict[str, str]:
    """The variables that a file may refer to: those of the `.env` beside it, and the environment, which wins.

    Raises: ConfigError, StorageError.
    """
    from lib import envfile

    beside = path.parent / ".env"
    found = envfile.load(beside) if beside.is_file() else {}
    return {**found, **os.environ}


def signal_name(value: object) -> str:
    """The name of a signal that is given as a name or a number, without SIG; empty when it is none."""
    import signal

    text = str(value).strip().upper().removeprefix("SIG")
    try:
        return signal.Signals(int(text)).name.removeprefix("SIG") if text.isdecimal() else (
            signal.Signals[f"SIG{text}"].name.removeprefix("SIG")
        )  # fmt: skip
    except (KeyError, ValueError):
        return ""
