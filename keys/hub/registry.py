"""Who is registered: one row an identity, and its chain of operations."""

from __future__ import annotations

from dataclasses import dataclass

from keys import history
from keys.errors import TrustError
from keys.fields import ID
from keys.history import History
from keys.hub.database import Row, Work
from keys.publickey import PublicKey
from lib.errors import MissingError

_ROW = "select genesis, kind, number, owner, head, signing, statement, renew_after from identities"


@dataclass(frozen=True)
class Identity:
    """A row: `owner` is the owner's genesis ("" for users), `signing` "" while revoked.

    `renew_after` is when the statement is over half of its life, in seconds since 1970.
    """

    genesis: str
    kind: str
    number: int
    owner: str
    head: str
    signing: str
    statement: str
    renew_after: int

    @property
    def id(self) -> str:
        """As host-7."""
        return f"{self.kind}-{self.number}"


def split(id: str) -> tuple[str, int]:
    """The kind and the number of an id.

    Raises: MissingError where it is none.
    """
    if not ID.fullmatch(id) or len(id) > 15:
        raise MissingError(f"the hub knows no {id[:40]!r}")
    kind, _, number = id.partition("-")
    return kind, int(number)


def find(work: Work, id: str) -> Identity:
    """The identity `id`.

    Raises: MissingError.
    """
    row = work.one(f"{_ROW} where kind = ? and number = ?", *split(id))
    if not row:
        raise MissingError(f"the hub knows no {id!r}")
    return _identity(row)


def by_genesis(work: Work, genesis: str) -> Identity | None:
    """The identity with this first operation."""
    row = work.one(f"{_ROW} where genesis = ?", genesis)
    return _identity(row) if row else None


def next_number(work: Work, kind: str) -> int:
    """The number that the next user or host gets; ids are never given twice, as rows are never removed."""
    row = work.one("select max(number) from identities where kind = ?", kind)
    return int(row[0]) + 1 if row and row[0] is not None else 1


def owned(work: Work, genesis: str) -> int:
    """How many hosts a user has."""
    row = work.one("select count(*) from identities where owner = ?", genesis)
    return int(row[0]) if row else 0


def add(work: Work, new: Identity) -> None:
    """Add a row."""
    work.run(
        "insert into identities (genesis, kind, number, owner, head, signing, statement, renew_after) "
        "values (?, ?, ?, nullif(?, ''), ?, ?, ?, ?)",
        new.genesis, new.kind, new.number, new.owner, new.head, new.signing, new.statement, new.renew_after,
    )  # fmt: skip


def update(work: Work, changed: Identity) -> None:
    """Write the newest operation and the statement about it."""
    work.run(
        "update identities set head = ?, signing = ?, statement = ?, renew_after = ? where genesis = ?",
        changed.head, changed.signing, changed.statement, changed.renew_after, changed.genesis,
    )  # fmt: skip


def are_signed_by(work: Work, online: PublicKey) -> bool:
    """Whether the statements are this key's, but for those that have to be made anew anyway."""
    row = work.one("select value from facts where name = 'online'")
    return row is not None and row[0] == str(online)


def sign_with(work: Work, online: PublicKey) -> None:
    """From now on statements are this key's: every one is made anew when somebody asks for it."""
    work.run("update identities set renew_after = 0")
    work.run("delete from facts where name = 'online'")
    work.run("insert into facts (name, value) values ('online', ?)", str(online))


def notes(work: Work, id: str) -> list[str]:
    """The notes of the chain of `id`, the first one first.

    Raises: MissingError.
    """
    rows = work.all(
        "select o.note from operations o join identities i on i.genesis = o.genesis "
        "where i.kind = ? and i.number = ? order by o.seq",
        *split(id),
    )
    if not rows:
        raise MissingError(f"the hub knows no {id!r}")
    return [str(row[0]) for row in rows]


def chain(work: Work, genesis: str) -> History:
    """The whole chain, verified again: a hub states nothing that its database only says.

    Raises: TrustError.
    """
    rows = work.all("select note from operations where genesis = ? order by seq", genesis)
    found = history.verified(str(row[0]) for row in rows)
    if found.state.genesis != genesis:
        raise TrustError("the hub's database holds a chain under another identity's name")
    return found


def index_of(work: Work, genesis: str, seq: int) -> int:
    """The index in the log of the operation `seq`."""
    row = work.one("select log_index from operations where genesis = ? and seq = ?", genesis, seq)
    return int(row[0]) if row else 0


def _identity(row: Row) -> Identity:
    genesis, kind, number, owner, head, signing, statement, renew_after = row
    return Identity(
        str(genesis), str(kind), int(number), str(owner or ""), str(head), str(signing), str(statement),
        int(renew_after),
    )  # fmt: skip
