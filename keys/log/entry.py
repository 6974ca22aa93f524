"""One entry of a hub's log: the operation's note to the letter, after a line with the id.

With the id in it everybody can see that an id was given once: a hub that makes another statement to somebody
has to leave that in its log. With the signatures, chains can be verified from the log alone.
"""

from __future__ import annotations

from keys.errors import TrustError
from keys.fields import MAX_BODY, parse_id


def encode(id: str, note: str) -> bytes:
    """The entry: `host-7`, a newline, the operation's note."""
    return f"{id}\n{note}".encode()


def decode(raw: bytes) -> tuple[str, str]:
    """The id and the operation's note. Verify the note.

    Raises: TrustError.
    """
    try:
        id, _, note = raw.decode().partition("\n")
    except UnicodeDecodeError as error:
        raise TrustError("a log entry must be valid UTF-8") from error
    if not note or len(note.encode()) > MAX_BODY:
        raise TrustError(f"not a log entry: an id, then a note of at most {MAX_BODY} bytes")
    return parse_id(id), note
