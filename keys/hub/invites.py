"""One-time tokens with which a user may register where the hub asks for them. Stored hashed."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from keys.hub.database import Work
from lib.errors import RefusedError

BYTES = 18
"""Of randomness; 24 characters."""


def create(work: Work, lifetime: timedelta, now: datetime) -> str:
    """A new token, which cannot be shown again."""
    token = secrets.token_urlsafe(BYTES)
    expires = int((now + lifetime).timestamp())
    work.run("insert into invites (digest, expires) values (?, ?)", _digest(token), expires)
    # A token that nobody used in time is not needed any more; used ones say who came with them.
    work.run("delete from invites where used_by = '' and expires < ?", int(now.timestamp()))
    return token


def use(work: Work, token: str, genesis: str, now: datetime) -> None:
    """Use `token` up for the identity that registers in this transaction.

    Raises: RefusedError.
    """
    if not token:
        raise RefusedError("this hub asks for an invite", "ask its operator for one: ampzero hub invite")
    if not work.one(
        "update invites set used_by = ? where digest = ? and used_by = '' and expires > ? returning expires",
        genesis, _digest(token), int(now.timestamp()),
    ):  # fmt: skip
        raise RefusedError(
            "this invite is not known, was used or has expired", "ask the operator for another"
        )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
