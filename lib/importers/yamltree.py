"""A foreign YAML file with its lines: small typed look-ups, and `${VARIABLE}` in its texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from lib import yamlfile
from lib.errors import ConfigError
from lib.importers.base import LARGEST_FILE
from lib.yamlnodes import Node, tame

KeyPath = tuple[str | int, ...]
REFERENCE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<sign>:?[-?+])(?P<word>[^{}$]*))?\})"
)
"""Variables as the compose specification has them, without variables inside of variables.
https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md"""


class Tree:
    """The file; every look-up gives an empty value where there is nothing.

    Raises (all of them): ConfigError for a value of another type.
    """

    def __init__(self, path: Path, raw: bytes) -> None:
        if len(raw) > LARGEST_FILE:
            raise ConfigError(f"{path}:1: the file is larger than {LARGEST_FILE} bytes")
        self.document = yamlfile.parse(raw, str(path))

    def node(self, path: KeyPath) -> Node | None:
        """The node at `path`, None where there is none or it is empty."""
        node = self.document.node(path)
        return None if node is None or node.value is None else node

    def has(self, path: KeyPath) -> bool:
        """Whether there is a value at `path`."""
        return self.node(path) is not None

    def line(self, path: KeyPath) -> int:
        """The line of the key at `path`."""
        return self.document.position(path, key=True)[0]

    def keys(self, path: KeyPath) -> list[str]:
        """The keys of the mapping at `path`."""
        node = self.node(path)
        if node is None:
            return []
        if not isinstance(node.value, dict):
            raise self.document.error(path, "must be a mapping")
        return list(node.value)

    def size(self, path: KeyPath) -> int:
        """How many items the list at `path` has."""
        node = self.node(path)
        if node is None:
            return 0
        if not isinstance(node.value, list):
            raise self.document.error(path, "must be a list")
        return len(node.value)

    def is_mapping(self, path: KeyPath) -> bool:
        """Whether a mapping stands at `path`."""
        node = self.node(path)
        return node is not None and isinstance(node.value, dict)

    def is_list(self, path: KeyPath) -> bool:
        """Whether a list stands at `path`."""
        node = self.node(path)
        return node is not None and isinstance(node.value, list)

    def text(self, path: KeyPath, default: str = "") -> str:
        """The scalar at `path`, as it is written."""
        node = self.node(path)
        if node is None:
            return default
        if isinstance(node.value, dict | list):
            raise self.document.error(path, "must be one value")
        return node.text if node.text is not None else str(node.value)

    def texts(self, path: KeyPath) -> list[str]:
        """The list of scalars at `path`; one scalar is a list of one."""
        if not self.is_list(path):
            return [self.text(path)] if self.has(path) else []
        return [self.text((*path, index)) for index in range(self.size(path))]

    def number(self, path: KeyPath, default: float, most: float = 1e6) -> float:
        """The number from 0 at `path`."""
        text = self.text(path)
        if not text:
            return default
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or float(text) > most:
            raise self.document.error(path, f"must be a number from 0 to {most:g}")
        return float(text)

    def count(self, path: KeyPath, default: int, most: int = 1000) -> int:
        """The whole number from 0 at `path`."""
        return int(self.number(path, default, most))

    def flag(self, path: KeyPath) -> bool:
        """Whether true stands at `path`."""
        return self.text(path).lower() in ("true", "yes", "on")

    def pairs(self, path: KeyPath) -> dict[str, tuple[str | None, int]]:
        """Variables, as a mapping or as a list of `KEY=value`: value (None: none is given) and line."""
        found: dict[str, tuple[str | None, int]] = {}
        if self.is_list(path):
            for index in range(self.size(path)):
                here = (*path, index)
                key, equals, value = self.text(here).partition("=")
                found[key] = (value if equals else None, self.line(here))
        else:
            for key in self.keys(path):
                found[key] = (
                    self.text((*path, key)) if self.has((*path, key)) else None,
                    self.line((*path, key)),
                )
        for key in found:
            if not key or "\0" in key + (found[key][0] or ""):
                raise self.document.error(path, f"{tame(key)!r} is not a name for the environment")
        return found


class Interpolation:
    """Fills variables into texts; `used` are the ones whose values came from `variables`."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.used: dict[str, str] = {}
        self.unset: list[str] = []

    def fill(self, text: str, *, keep: bool = False) -> str:
        """`text` with its variables; with `keep` those that are set stay `${NAME}`.

        Raises: ConfigError for `${NAME:?what}` where it is not set.
        """

        def value(match: re.Match[str]) -> str:
            if match["escaped"]:
                return "$"
            name, sign, word = match["plain"] or match["name"], match["sign"] or "", match["word"] or ""
            known = self._variables.get(name)
            present = known is not None and (known != "" or not sign.startswith(":"))
            if sign.endswith("+"):
                return word if present else ""
            if present:
                self.used[name] = known or ""
                return f"${{{name}}}" if keep else known or ""
            if sign.endswith("?"):
                raise ConfigError(f"{name} is not set: {tame(word)}", f"{name}=… ampzero …")
            if not sign:
                self.unset.append(name)
            return word

        return REFERENCE.sub(value, text)
