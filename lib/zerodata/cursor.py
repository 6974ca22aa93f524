"""Cursors: where a page ended, as an opaque text. Signed, and good for the query they came from only."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence

from lib.zerodata.query import Query
from lib.zerodata.record import RequestError
from lib.zerodata.sql import Parameter

MAX_CURSOR = 64 * 1024
TAG = 16
"""Bytes of the HMAC-SHA256 that a cursor carries."""


def digest(query: Query) -> str:
    """What a cursor is bound to: everything of the query but its page."""
    return hashlib.sha256(repr((query.kind, query.filters, query.order)).encode()).hexdigest()[:16]


def encode(key: bytes, query: Query, position: Sequence[Parameter]) -> str | None:
    """The cursor after the row whose sort columns are `position`; None when it would be too long."""
    text = json.dumps([digest(query), list(position)], separators=(",", ":")).encode()
    tag = hmac.digest(key, text, "sha256")[:TAG]
    cursor = base64.urlsafe_b64encode(tag + text).decode().rstrip("=")
    return cursor if len(cursor) <= MAX_CURSOR else None


def decode(key: bytes, query: Query) -> list[Parameter] | None:
    """The position that the query's cursor holds; None without one. Raises: RequestError."""
    if query.cursor is None:
        return None
    wrong = RequestError("the cursor is not valid", "use the one of the page before, with the same query")
    if len(query.cursor) > MAX_CURSOR or not query.cursor.isascii():
        raise wrong
    try:
        raw = base64.b64decode(query.cursor + "=" * (-len(query.cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise wrong from error
    tag, text = raw[:TAG], raw[TAG:]
    if not hmac.compare_digest(tag, hmac.digest(key, text, "sha256")[:TAG]):
        raise wrong
    made_for, position = json.loads(text)
    if made_for != digest(query):
        raise wrong
    found: list[Parameter] = position
    return found
