"""`.env` files: `KEY=value` lines, with `export`, quotes and comments as python-dotenv reads them.

Nothing is expanded: `$HOME` in a value stays `$HOME`. Owns the translation of the library's findings.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from lib.errors import ConfigError, MissingError
from lib.files import storage_errors
from lib.yamlnodes import short

LARGEST_FILE = 1_000_000


def load(path: Path) -> dict[str, str]:
    """The variables of the file at `path`; one that stands twice has its last value.

    Raises: MissingError, ConfigError (`file:line`), StorageError.
    """
    if not path.exists():
        raise MissingError(f"no file {path}", "make it, or remove it from env_file")
    with storage_errors(path), path.open("rb") as stream:
        raw = stream.read(LARGEST_FILE + 1)
    return parse(raw, str(path))


def parse(raw: bytes, name: str) -> dict[str, str]:
    """The variables in `raw`; `name` is what errors call it.

    Raises: ConfigError.
    """
    from dotenv.parser import parse_stream

    if len(raw) > LARGEST_FILE:
        raise ConfigError(f"{name}:1: the file is larger than {LARGEST_FILE} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}:{at}: the file is not UTF-8") from error
    variables: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text, newline="")):
        # A binding begins with the blank lines before it; the line that is meant is the first with text.
        source = binding.original.string
        blank = source[: len(source) - len(source.lstrip())]
        at = binding.original.line + blank.count("\n")
        if binding.error:
            raise ConfigError(f"{name}:{at}: not a line of KEY=value")
        if binding.key is None:
            continue
        if binding.value is None:
            raise ConfigError(
                f"{name}:{at}: {short(binding.key)} has no value", f"{binding.key}= is empty text"
            )
        if not binding.key or "\0" in source or "=" in binding.key:
            raise ConfigError(f"{name}:{at}: not a name and value for the environment")
        variables[binding.key] = binding.value
    return variables


def text(variables: Mapping[str, str]) -> str:
    """A file that `parse` reads as `variables`."""
    lines = []
    for name, value in variables.items():
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"{name}='{escaped}'\n")
    return "".join(lines)
