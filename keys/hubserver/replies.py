"""What the server answers: replies, and errors as replies."""

from __future__ import annotations

import json
from dataclasses import dataclass

from keys.errors import HeadError, TrustError
from lib.errors import AmpzeroError, MissingError, RefusedError, StorageError, TakenError, UsageError

TEXT = b"text/plain; charset=utf-8"
JSON = b"application/json"
HTML = b"text/html; charset=utf-8"
BYTES = b"application/octet-stream"
Header = tuple[bytes, bytes]


@dataclass(frozen=True)
class Reply:
    """One answer; `headers` are those beside the content's type and length."""

    status: int
    body: bytes
    kind: bytes = TEXT
    headers: tuple[Header, ...] = ()


def refusal(status: int, error: str, hint: str = "", retry_after: str = "", **fields: object) -> Reply:
    """An error in one line."""
    headers = ((b"retry-after", retry_after.encode()),) if retry_after else ()
    body: dict[str, object] = {"error": error, **fields}
    if hint:
        body["hint"] = hint
    return Reply(status, json.dumps(body).encode() + b"\n", JSON, headers)


def status_of(error: AmpzeroError) -> int:
    """The HTTP status that says what `error` says.

    A disk that is full and a database that is busy are the hub's trouble and pass: 503.
    """
    if isinstance(error, HeadError):
        return 409
    if isinstance(error, RefusedError):
        return 403
    if isinstance(error, MissingError):
        return 404
    if isinstance(error, StorageError | TakenError):
        return 503
    if isinstance(error, TrustError | UsageError):
        return 400
    return 500
