"""A hub's statement about an identity: the file `host-7.public.key` or `user-23.public.key`.

The text is fixed by docs/keys.md. An expired statement is stale: it is a warning, never an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from keys import note
from keys.chain import State
from keys.errors import TrustError
from keys.fields import (
    SKEW,
    Reader,
    canonical,
    moment,
    parse_digest,
    parse_id,
    parse_moment,
    parse_number,
    parse_origin,
    render,
)
from keys.operation import MAX_CONTROL, NONE
from keys.publickey import PublicKey

TITLE = "ampzero/key/v1"
LIFETIME = timedelta(days=90)


@dataclass(frozen=True)
class Owner:
    """The user that a host belongs to."""

    id: str
    genesis: str


@dataclass(frozen=True)
class Control:
    """A control key and the id of whom it belongs to."""

    key: PublicKey
    holder: str


@dataclass(frozen=True)
class Statement:
    """What a hub says. `owner` is None for users, `signing` while revoked; `index` counts from 0."""

    id: str
    hub: str
    genesis: str
    head: str
    seq: int
    signing: PublicKey | None
    control: tuple[Control, ...]
    owner: Owner | None
    index: int
    issued: datetime
    expires: datetime

    @property
    def text(self) -> str:
        """What the hub signs."""
        fields = [
            ("id", self.id),
            ("hub", self.hub),
            ("genesis", self.genesis),
            ("head", self.head),
            ("seq", str(self.seq)),
            ("signing", str(self.signing or NONE)),
            *(("control", f"{control.key} {control.holder}") for control in self.control),
        ]
        if self.owner:
            fields.append(("owner", f"{self.owner.id} {self.owner.genesis}"))
        fields += [
            ("index", str(self.index)),
            ("issued", moment(self.issued)),
            ("expires", moment(self.expires)),
        ]
        return render(TITLE, fields)

    def warning(self, now: datetime) -> str:
        """Why this statement should be renewed, or an empty string."""
        if now >= self.expires:
            return f"the public key file of {self.id} is stale since {moment(self.expires)}"
        if self.issued > now + SKEW:
            return (
                f"the public key file of {self.id} is from the future ({moment(self.issued)}): "
                "is a clock wrong?"
            )
        return ""

    def check(self, state: State) -> None:
        """Refuse to believe what the operations that lead to `state` do not say.

        Raises: TrustError.
        """
        kind, control = self.id.partition("-")[0], tuple(one.key for one in self.control)
        owner = self.owner.genesis if self.owner else ""
        if state != State(self.genesis, self.head, self.seq, kind, owner, self.signing, control):
            raise TrustError(f"the hub {self.hub} states what the operations of {self.id} do not say")


def online_name(hub: str) -> str:
    """The name under which a hub's online key signs."""
    return f"{hub}/keys"


def make(
    state: State, *, id: str, hub: str, owner: Owner | None, owner_control: tuple[PublicKey, ...],
    index: int, now: datetime,
) -> Statement:  # fmt: skip
    """The statement about `state`; control keys in `owner_control` are shown as the owner's."""
    return Statement(
        id=id,
        hub=hub,
        genesis=state.genesis,
        head=state.head,
        seq=state.seq,
        signing=state.signing,
        control=tuple(
            Control(key, owner.id if owner and key in owner_control else id) for key in state.control
        ),
        owner=owner,
        index=index,
        issued=now.replace(microsecond=0),
        expires=now.replace(microsecond=0) + LIFETIME,
    )


def sign(statement: Statement, key: note.SigningKey) -> str:
    """The public key file, signed by the hub's online key.

    Raises: TrustError.
    """
    return str(note.sign(statement.text, [(online_name(statement.hub), key)]))


def parse(raw: bytes | str) -> tuple[Statement, note.Note]:
    """Take a public key file apart without believing it.

    Raises: TrustError.
    """
    envelope = note.parse(raw)
    reader = Reader(TITLE, envelope.text)
    statement = Statement(
        id=parse_id(reader.one("id")),
        hub=parse_origin(reader.one("hub")),
        genesis=parse_digest(reader.one("genesis")),
        head=parse_digest(reader.one("head")),
        seq=parse_number(reader.one("seq")),
        signing=_key_or_none(reader.one("signing")),
        control=tuple(_control(line) for line in reader.many("control", MAX_CONTROL)),
        owner=_owner(reader.optional("owner")),
        index=parse_number(reader.one("index")),
        issued=parse_moment(reader.one("issued")),
        expires=parse_moment(reader.one("expires")),
    )
    reader.end()
    if statement.id.startswith("host-") != (statement.owner is not None):
        raise TrustError(f"{TITLE}: a host has an owner, and no other has")
    canonical(TITLE, envelope.text, statement.text)
    return statement, envelope


def verify(raw: bytes | str, hub: note.Verifier) -> Statement:
    """The statement in a public key file, signed by the hub's online key. Ask `warning` whether it is stale.

    Raises: TrustError.
    """
    statement, envelope = parse(raw)
    if hub.name != online_name(statement.hub):
        raise TrustError(
            f"the public key file of {statement.id} is of the hub {statement.hub}, not {hub.name}"
        )
    envelope.verify([hub])
    return statement


def _key_or_none(line: str) -> PublicKey | None:
    return None if line == NONE else PublicKey.parse(line)


def _control(line: str) -> Control:
    key, _, holder = line.rpartition(" ")
    return Control(PublicKey.parse(key), parse_id(holder))


def _owner(line: str) -> Owner | None:
    if not line:
        return None
    id, _, genesis = line.partition(" ")
    if not parse_id(id).startswith("user-"):
        raise TrustError(f"{TITLE}: the owner is a user")
    return Owner(id, parse_digest(genesis))
