"""What goes over the wire between a hub and its clients beside notes: names, bounds, and answers as data."""

from __future__ import annotations

import msgspec

from keys.fields import MAX_BODY

MAX_CHAIN = 16 * MAX_BODY
"""Bytes of a chain that a hub takes from another in one request."""
MAX_OPERATIONS = 1024 * 1024
"""Bytes of a chain that a client reads."""
INVITE = "Ampzero-Invite"


class Proof(msgspec.Struct):
    """That an entry is in the log: `hashes` (base64) lead from it to the `checkpoint` (a note)."""

    checkpoint: str
    hashes: list[str]


class Registered(msgspec.Struct):
    """The answer to an operation that a hub took."""

    id: str
    statement: str
    index: int
    proof: Proof


class Path(msgspec.Struct):
    """The answer of /v1/log/proof."""

    hashes: list[str]


class Trouble(msgspec.Struct):
    """An error, in one line; `head` with 409; `quota` where waiting a little does not help."""

    error: str
    hint: str = ""
    head: str = ""
    quota: bool = False
