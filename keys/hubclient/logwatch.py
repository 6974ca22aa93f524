"""Watches a hub's log: it may only grow, and what the hub says it registered must be in it.

The last checkpoint is remembered; each newer one must come with the proof that it grew out of that one.
"""

from __future__ import annotations

from collections.abc import Callable

from keys import fields, note, operation
from keys.errors import TrustError
from keys.fields import MAX_BODY
from keys.hubclient.asking import Asking
from keys.hubclient.memory import CHECKPOINT, Memory
from keys.hubclient.roots import caught
from keys.hubwire import Path, Proof
from keys.log import checkpoint, entry, merkle, proof, tile
from keys.log.checkpoint import Checkpoint
from keys.log.tile import Tile
from keys.log.tree import Tree
from keys.operation import Operation
from keys.root import Root
from lib.errors import MissingError, TakenError

MAX_TILE = tile.WIDTH * (MAX_BODY + 100)
"""Bytes of a bundle of the longest entries."""
TRIES = 10
"""Other processes of this user may see newer checkpoints meanwhile."""


class LogWatch:
    """The log of one hub; `root` gives its newest root, whose online key signs checkpoints."""

    def __init__(self, asking: Asking, memory: Memory, root: Callable[[], Root]) -> None:
        self._asking, self._memory, self._root = asking, memory, root

    def look(self) -> Checkpoint:
        """The newest checkpoint, which has grown out of the last one that was seen.

        Raises: HistoryError, TrustError, UnreachableError, StorageError.
        """
        return self.accept(self._asking.note("/checkpoint"))

    def accept(self, text: str) -> Checkpoint:
        """The checkpoint in `text`, when it and the last one that was seen are of one log; remembered.

        Raises: as `look`.
        """
        root = self._root()
        now = checkpoint.verify(text, note.Verifier(root.origin, root.online))
        for _ in range(TRIES):
            seen_text = self._memory.read(CHECKPOINT)
            if seen_text:
                seen = checkpoint.parse(seen_text)[0]
                self._one_log(seen, seen_text, now, text)
                if now.size <= seen.size:
                    return now
            if self._memory.replace(CHECKPOINT, seen_text, text):
                return now
        raise TakenError(f"others look at the log of {root.origin} all the time", "try again")

    def proven(self, raw: bytes, index: int, given: Proof) -> None:
        """Refuse a proof that does not show the entry `raw` at `index` of the hub's one log.

        Raises: as `look`.
        """
        self._includes(self.accept(given.checkpoint), given.checkpoint, raw, index, given.hashes)

    def includes(self, raw: bytes, index: int) -> Checkpoint:
        """Ask for the proof that the entry `raw` is at `index` of the log, and check it; the log now.

        Raises: as `look`.
        """
        return self._included(raw, index)[0]

    def evidence(self, raw: bytes, index: int) -> Proof:
        """As `includes`; what shows it to somebody who cannot ask the hub.

        Raises: as `look`.
        """
        return self._included(raw, index)[1]

    def newest(self, count: int) -> list[tuple[int, str, Operation]]:
        """The last `count` entries, each proven to be in the log: index, id, operation.

        Raises: as `look`.
        """
        now = self.look()
        tree = Tree(now.size, lambda one: tile.hashes(one, self._tile(one)))
        found: list[tuple[int, str, Operation]] = []
        bundles: dict[int, list[bytes]] = {}
        for index in range(max(0, now.size - count), now.size):
            number, at = divmod(index, tile.WIDTH)
            if number not in bundles:
                one = tile.holding(tile.ENTRIES, number, now.size)
                bundles[number] = tile.unbundle(one, self._tile(one))
            raw = bundles[number][at]
            proof.verify_inclusion(index, now.size, merkle.leaf(raw), tree.inclusion(index), now.root)
            id, note = entry.decode(raw)
            found.append((index, id, operation.parse(note).operation))
        return found

    def _tile(self, one: Tile) -> bytes:
        return self._asking.answer("GET", f"/{one.path}", limit=MAX_TILE).body

    def _included(self, raw: bytes, index: int) -> tuple[Checkpoint, Proof]:
        text = self._asking.note("/checkpoint")
        now = self.accept(text)
        answer = self._asking.fields("GET", f"/v1/log/proof?index={index}&size={now.size}", Path)
        self._includes(now, text, raw, index, answer.hashes)
        return now, Proof(text, answer.hashes)

    def _includes(self, now: Checkpoint, text: str, raw: bytes, index: int, hashes: list[str]) -> None:
        try:
            proof.verify_inclusion(index, now.size, merkle.leaf(raw), _hashes(hashes), now.root)
        except TrustError as error:
            raise caught(
                self._memory, self._root(), f"names entry {index} of its log, and that is another",
                raw.decode(errors="replace"), text,
            ) from error  # fmt: skip

    def _one_log(self, seen: Checkpoint, seen_text: str, now: Checkpoint, text: str) -> None:
        """Refuse two checkpoints of which neither has grown out of the other.

        The smaller one may be the new one: answers can overtake each other. A hub that still has all of the
        log that was seen can prove that too; one that went back cannot.
        """
        old, new = sorted((seen, now), key=lambda each: each.size)
        hashes: list[str] = []
        what = "has two logs"
        try:
            if 0 < old.size < new.size:
                path = f"/v1/log/proof?from={old.size}&size={new.size}"
                if now is old:
                    what = f"went back from {new.size} to {old.size} entries in its log"
                hashes = self._asking.fields("GET", path, Path).hashes
            proof.verify_consistency(old.size, old.root, new.size, new.root, _hashes(hashes))
        except (TrustError, MissingError) as error:
            raise caught(self._memory, self._root(), what, seen_text, text) from error


def _hashes(hashes: list[str]) -> list[bytes]:
    if len(hashes) > proof.MAX_HASHES:
        raise TrustError(f"a proof of more than {proof.MAX_HASHES} hashes")
    return [fields.decode(each, merkle.HASH) for each in hashes]
