"""Indexes as index.yaml declares them. A query that no index fits still works; it reads the whole kind."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lib.errors import ConfigError, MissingError
from lib.zerodata.query import MAX_ORDER, Order, check_property
from lib.zerodata.record import RequestError, check_kind
from lib.zerodata.sql import columns

MAX_FILE = 256 * 1024


@dataclass(frozen=True)
class Index:
    """An index over the properties of one kind."""

    kind: str
    properties: tuple[Order, ...]

    @property
    def columns(self) -> str:
        """The SQL of its columns. The kind goes first, so one set of properties serves every kind."""
        keys = columns(self.properties)
        return ",".join(["kind", *(f"{key} DESC" if down else key for key, down in keys)])

    @property
    def name(self) -> str:
        """Its name in the database, which changes whenever its columns do."""
        return "declared_" + hashlib.sha256(self.columns.encode()).hexdigest()[:16]


def load(path: Path) -> list[Index]:
    """The indexes of an index.yaml.

    Raises: MissingError, ConfigError (file and place in it).
    """
    import yaml

    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise MissingError(f"cannot read {path}: {error.strerror}") from error
    if len(raw) > MAX_FILE:
        raise ConfigError(f"{path}: larger than {MAX_FILE} bytes")
    try:
        document = yaml.safe_load(raw)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{place}: not YAML: {getattr(error, 'problem', error)}") from error
    if document is None:
        return []
    if not isinstance(document, Mapping) or set(document) - {"indexes"}:
        raise ConfigError(f"{path}: its one key is `indexes`")
    listed = document["indexes"] or []
    if not isinstance(listed, list):
        raise ConfigError(f"{path}: indexes: not a list")
    found = []
    for number, entry in enumerate(listed):
        try:
            found.append(_index(entry))
        except RequestError as error:
            raise ConfigError(f"{path}: indexes[{number}]: {error.message}", error.hint) from error
    return found


def _index(entry: object) -> Index:
    if not isinstance(entry, Mapping) or set(entry) != {"kind", "properties"}:
        raise RequestError("its keys are `kind` and `properties`")
    properties = entry["properties"]
    if not isinstance(properties, list) or not 0 < len(properties) <= MAX_ORDER:
        raise RequestError(f"properties: not a list of 1 to {MAX_ORDER}")
    return Index(check_kind(entry["kind"]), tuple(_order(one) for one in properties))


def _order(entry: object) -> Order:
    if isinstance(entry, str):
        return Order(check_property(entry))
    if not isinstance(entry, Mapping) or set(entry) - {"name", "direction"}:
        raise RequestError("a property is a name, or has the keys `name` and `direction`")
    direction = entry.get("direction", "asc")
    if direction not in ("asc", "desc"):
        raise RequestError("a direction is asc or desc")
    return Order(check_property(entry.get("name")), direction == "desc")
