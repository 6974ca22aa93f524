"""The hub's log in its database: operations are its entries, numbered without gaps; the hashes beside them.

Nothing is ever changed in it. All proofs and tiles are made of what is here when they are asked for.
"""

from __future__ import annotations

from keys.errors import HistoryError, TrustError
from keys.hub.database import Work
from keys.log import entry, merkle, tile
from keys.log.checkpoint import Checkpoint
from keys.log.tile import ENTRIES, HEIGHT, WIDTH, Tile
from keys.log.tree import Tree
from lib.errors import StorageError


def size(work: Work) -> int:
    """How many entries there are."""
    row = work.one("select max(number) from log_hashes where level = 0")
    return int(row[0]) + 1 if row and row[0] is not None else 0


def append(work: Work, id: str, genesis: str, seq: int, note: str) -> int:
    """Add an operation, in the transaction that changes the identity; its index."""
    index = size(work)
    work.run(
        "insert into operations (log_index, genesis, seq, note) values (?, ?, ?, ?)",
        index, genesis, seq, note,
    )  # fmt: skip
    add_hashes(work, index, [entry.encode(id, note)])
    return index


def add_hashes(work: Work, index: int, new: list[bytes]) -> None:
    """Add the hashes of entries, the first of which is the entry `index`, and of the tiles that they fill."""
    for number, each in enumerate(new, index):
        hash, level = merkle.leaf(each), 0
        while True:
            work.run("insert into log_hashes (level, number, hash) values (?, ?, ?)", level, number, hash)
            if (number + 1) % WIDTH:
                break
            hash = merkle.fold(row(work, level, number + 1 - WIDTH, number + 1))
            level, number = level + 1, number >> HEIGHT


def check_grown(work: Work, said: Checkpoint, place: str) -> None:
    """Whether this log is the one of the checkpoint, or has grown out of it.

    Raises: HistoryError.
    """
    count = size(work)
    if count < said.size or tree(work, said.size).root() != said.root:
        what = f"has only {count}" if count < said.size else "has others"
        raise HistoryError(
            f"the hub has signed a log of {said.size} entries, and {place} {what}",
            "take the newest back-up; clients refuse a hub whose history has changed",
        )


def entries(work: Work, first: int, last: int) -> list[bytes]:
    """The entries first to last - 1, as they are hashed."""
    rows = work.all(
        "select i.kind, i.number, o.note from operations o join identities i on i.genesis = o.genesis "
        "where o.log_index >= ? and o.log_index < ? order by o.log_index",
        first, last,
    )  # fmt: skip
    return [entry.encode(f"{kind!s}-{number!s}", str(note)) for kind, number, note in rows]


def tree(work: Work, count: int) -> Tree:
    """The tree over the first `count` entries.

    Raises: TrustError where there are fewer.
    """
    if not 0 <= count <= size(work):
        raise TrustError(f"the log has no {count} entries")
    return Tree(count, lambda one: row(work, one.level, one.start, one.start + one.width))


def content(work: Work, one: Tile) -> bytes:
    """What is served as the tile or bundle `one`.

    Raises: TrustError where the log has none such.
    """
    one.check_size(size(work))
    if one.level == ENTRIES:
        return tile.bundle(entries(work, one.start, one.start + one.width))
    return b"".join(row(work, one.level, one.start, one.start + one.width))


def row(work: Work, level: int, first: int, last: int) -> list[bytes]:
    """The hashes first to last - 1 of a level.

    Raises: StorageError where one is missing.
    """
    rows = work.all(
        "select hash from log_hashes where level = ? and number >= ? and number < ? order by number",
        level, first, last,
    )  # fmt: skip
    if len(rows) != last - first:
        raise StorageError("the hub's log has gaps", "restore the hub from its back-up")
    return [row[0] for row in rows if isinstance(row[0], bytes)]
