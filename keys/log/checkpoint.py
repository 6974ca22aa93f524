"""A checkpoint: what the log's keeper signs about all of it. C2SP tlog-checkpoint, as a signed note:

hub.example                  (the origin; the hub's online key signs under this name)
41                           (entries)
<base64 of the root hash>

— hub.example <signature>
"""

from __future__ import annotations

from dataclasses import dataclass

from keys import note
from keys.errors import TrustError
from keys.fields import decode, encode, parse_number
from keys.log.merkle import EMPTY, HASH

MAX_EXTENSIONS = 16


@dataclass(frozen=True)
class Checkpoint:
    """The log of `origin` has `size` entries and this root. `extensions` are others' lines; ours has none."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What is signed."""
        lines = (self.origin, str(self.size), encode(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


def sign(checkpoint: Checkpoint, key: note.SigningKey) -> str:
    """The note, signed by the hub's online key.

    Raises: TrustError.
    """
    return str(note.sign(checkpoint.text, [(checkpoint.origin, key)]))


def parse(raw: bytes | str) -> tuple[Checkpoint, note.Note]:
    """Take a checkpoint apart without believing it.

    Raises: TrustError.
    """
    envelope = note.parse(raw)
    lines = envelope.text.split("\n")[:-1]
    if not 3 <= len(lines) <= 3 + MAX_EXTENSIONS or not all(lines):
        raise TrustError("a checkpoint has three lines: origin, size and root hash")
    checkpoint = Checkpoint(lines[0], parse_number(lines[1]), decode(lines[2], HASH), tuple(lines[3:]))
    if checkpoint.size == 0 and checkpoint.root != EMPTY:
        raise TrustError("a checkpoint of an empty log has another root")
    return checkpoint, envelope


def verify(raw: bytes | str, log: note.Verifier) -> Checkpoint:
    """The checkpoint in `raw`, signed by the log's key, whose name is its origin.

    Raises: TrustError.
    """
    checkpoint, envelope = parse(raw)
    if checkpoint.origin != log.name:
        raise TrustError(f"a checkpoint of the log {checkpoint.origin[:60]!r} and not of {log.name}")
    envelope.verify([log])
    return checkpoint
