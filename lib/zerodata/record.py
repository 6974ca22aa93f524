"""What a record is: a JSON object with a kind, an id and a version. Owns the limits and their checks."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib.errors import AmpzeroError

MAX_RECORD = 1024 * 1024
"""Bytes of a record's value as JSON."""
MAX_DEPTH = 32
MAX_ID = 500
"""Characters of an id."""
MAX_BATCH = 500
KIND = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")
INTEGERS = range(-(2**63), 2**63)
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
Value = Mapping[str, Any]


class RequestError(AmpzeroError):
    """A request cannot be done as asked; `status` is the HTTP status that says so."""

    def __init__(self, message: str, hint: str = "", status: int = 400) -> None:
        super().__init__(message, hint)
        self.status = status


class ConflictError(RequestError):
    """A record does not have the version that the request expects; nothing was changed."""

    def __init__(self, message: str, hint: str = "read it again, then write with its version") -> None:
        super().__init__(message, hint, 409)


@dataclass(frozen=True)
class Record:
    """One stored record. `version` grows with every write in the whole store and is never used again."""

    kind: str
    id: str
    version: int
    value: Value


@dataclass(frozen=True)
class Put:
    """Write a record. `version`: None= over anything, 0 = only when there is none, else over that one."""

    kind: str
    id: str
    value: Value
    version: int | None = None


@dataclass(frozen=True)
class Delete:
    """Delete a record; `version` as in Put, but never 0."""

    kind: str
    id: str
    version: int | None = None


def check_kind(kind: object) -> str:
    """`kind` itself, when it is one. Raises: RequestError."""
    if isinstance(kind, str) and KIND.fullmatch(kind):
        return kind
    raise RequestError("the kind is not valid", "a letter or _, then up to 99 letters, digits or . _ -")


def check_id(id: object) -> str:
    """`id` itself, when it is one. Raises: RequestError."""
    if isinstance(id, str) and 0 < len(id) <= MAX_ID and not CONTROL.search(id) and _encodable(id):
        return id
    raise RequestError("the id is not valid", f"1 to {MAX_ID} characters, no control characters")


def check_version(version: object, least: int = 0) -> int | None:
    """`version` itself, when it is one. Raises: RequestError."""
    if version is None:
        return None
    if isinstance(version, int) and not isinstance(version, bool) and least <= version < 2**63:
        return version
    raise RequestError(f"the version is not a whole number from {least}")


def parse(body: bytes) -> Any:
    """The JSON value in `body`, checked: depth, numbers, strings. Raises: RequestError."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = "too deep" if isinstance(error, RecursionError) else str(error)[:200]
        raise RequestError(f"the body is not JSON: {reason}") from error
    _check(value, MAX_DEPTH + 4)
    return value


def encode(value: object) -> str:
    """The JSON text of a record's value, as it is stored. Raises: RequestError."""
    if not isinstance(value, Mapping):
        raise RequestError("a record's value must be a JSON object")
    _check(value, MAX_DEPTH)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"the value is not JSON: {error}") from error
    if len(text.encode()) > MAX_RECORD:
        raise RequestError(f"the record is larger than {MAX_RECORD} bytes", status=413)
    return text


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _encodable(text: str) -> bool:
    """Whether `text` is proper Unicode (no half surrogate pairs) without NUL, which no database takes."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _check(value: object, depth: int) -> None:
    """Refuse what a database would change or not take. Raises: RequestError."""
    if depth < 0:
        raise RequestError(f"the value is nested deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        if "\0" in value or not (value.isascii() or _encodable(value)):
            raise RequestError("a string holds NUL or half a surrogate pair")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check(key, depth - 1)
            _check(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth - 1)
    elif (isinstance(value, float) and not math.isfinite(value)) or (
        isinstance(value, int) and value not in INTEGERS
    ):
        raise RequestError("a number is out of range", "whole numbers have 64 bits; send others as strings")
