"""The text below every signature: a title line, then `name: value` lines. Owns their values' spelling.

Each value has one spelling only. Whoever parses a text writes it again and compares (`canonical`), so that
two texts never mean the same and a digest of the text is a digest of its meaning.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta

from keys.errors import TrustError

MAX_BODY = 4096
"""Bytes of one signed body, signatures included: what a hub takes at most (docs/keys.md)."""
MAX_LINES = 64
SKEW = timedelta(minutes=5)
"""How far the clocks of hosts and hubs may be apart."""

ID = re.compile(r"(user|host)-[1-9][0-9]{0,17}")
ORIGIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::[1-9][0-9]{0,4})?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


def render(title: str, fields: list[tuple[str, str]]) -> str:
    """The text of `fields` in their order, with its last newline."""
    return "".join([f"{title}\n", *(f"{name}: {value}\n" for name, value in fields)])


def text_of(raw: bytes | str, limit: int, what: str) -> str:
    """`raw` as text, when it is UTF-8 of at most `limit` bytes; `what` names it in errors.

    Raises: TrustError.
    """
    try:
        if len(raw) <= limit:
            text = raw if isinstance(raw, str) else raw.decode()
            if len(text.encode()) <= limit:
                return text
    except UnicodeError as error:
        raise TrustError(f"{what} must be valid UTF-8") from error
    raise TrustError(f"{what} of more than {limit} bytes")


def parse(title: str, text: str) -> list[tuple[str, str]]:
    """The fields of `text` in their order.

    Raises: TrustError.
    """
    if len(text) > MAX_BODY:
        raise TrustError(f"{title}: longer than {MAX_BODY} bytes")
    lines = text.split("\n")
    if lines[0] != title:
        raise TrustError(f"not a text of the kind {title}: it begins with {lines[0][:40]!r}")
    if lines[-1] or len(lines) > MAX_LINES:
        raise TrustError(f"{title}: more than {MAX_LINES} lines, or no newline at its end")
    fields = []
    for line in lines[1:-1]:
        name, separator, value = line.partition(": ")
        if not separator or not value:
            raise TrustError(f"{title}: not a `name: value` line: {line[:40]!r}")
        fields.append((name, value))
    return fields


class Reader:
    """Takes the fields of one text out in the order in which they must come."""

    def __init__(self, title: str, text: str) -> None:
        self.title = title
        self.fields = parse(title, text)

    def one(self, name: str) -> str:
        """The next field, which must be `name`.

        Raises: TrustError.
        """
        value = self.optional(name)
        if not value:
            found = repr(self.fields[0][0][:40]) if self.fields else "the end"
            raise TrustError(f"{self.title}: {name!r} is missing, found {found}")
        return value

    def optional(self, name: str) -> str:
        """The next field where it is `name`, otherwise an empty string."""
        return self.fields.pop(0)[1] if self.fields and self.fields[0][0] == name else ""

    def many(self, name: str, most: int) -> list[str]:
        """One or more fields called `name`.

        Raises: TrustError.
        """
        values = [self.one(name)]
        while value := self.optional(name):
            values.append(value)
        if len(values) > most:
            raise TrustError(f"{self.title}: more than {most} lines of {name!r}")
        return values

    def end(self) -> None:
        """Nothing may follow.

        Raises: TrustError.
        """
        if self.fields:
            raise TrustError(f"{self.title}: {self.fields[0][0][:40]!r} does not belong here")


def canonical(title: str, text: str, again: str) -> None:
    """Refuse a text that is not spelt as we would spell its meaning.

    Raises: TrustError.
    """
    if text != again:
        raise TrustError(f"{title}: not in its canonical spelling")


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


def moment(value: datetime) -> str:
    """A time as 2026-11-20T00:00:00Z; parts of a second are dropped."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)


def parse_moment(value: str) -> datetime:
    """The time that `moment` wrote.

    Raises: TrustError.
    """
    try:
        if not _TIME.fullmatch(value):
            raise ValueError(value)
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise TrustError(f"not a time as 2026-11-20T00:00:00Z: {value[:40]!r}") from error


def parse_number(value: str) -> int:
    """A whole number from 0, without leading zeros, below 10**18.

    Raises: TrustError.
    """
    if not _NUMBER.fullmatch(value):
        raise TrustError(f"not a number: {value[:40]!r}")
    return int(value)


def encode(raw: bytes) -> str:
    """Standard base64 (RFC 4648 section 4) with padding."""
    return base64.b64encode(raw).decode()


def decode(value: str, length: int | None = None) -> bytes:
    """Standard base64, canonical, of `length` bytes where it is given.

    Raises: TrustError.
    """
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TrustError(f"not base64: {value[:40]!r}") from error
    if encode(raw) != value or (length is not None and len(raw) != length):
        raise TrustError(f"base64 with stray bits or of a wrong length: {value[:40]!r}")
    return raw


def parse_digest(value: str) -> str:
    """A base64 SHA-256 as it stands.

    Raises: TrustError.
    """
    decode(value, 32)
    return value


def parse_id(value: str) -> str:
    """An id as user-23 or host-7.

    Raises: TrustError.
    """
    if not ID.fullmatch(value):
        raise TrustError(f"not an id as user-23 or host-7: {value[:40]!r}")
    return value


def parse_origin(value: str) -> str:
    """A hub's name: a host name in small letters, with a port or without.

    Raises: TrustError.
    """
    if not ORIGIN.fullmatch(value):
        raise TrustError(f"not a hub's name: {value[:40]!r}")
    return value
