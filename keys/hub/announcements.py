"""Where hosts are: the newest announcement of each, one row a host, also after it has expired.

A row that a power cut loses is announced again within minutes; so it is written without waiting for the disk.
What stays of an expired one is its seq, so that an old note is never taken for a new one.
"""

from __future__ import annotations

from datetime import UTC, datetime

from keys import announcement, note
from keys.announcement import SIGNER, Announcement
from keys.errors import HeadError, TrustError
from keys.hub import registry
from keys.hub.database import Work
from keys.hubapi import Announced
from keys.publickey import PublicKey
from lib.errors import MissingError, RefusedError

SOONEST = 30
"""Seconds until a host is asked to come again, at least."""


def check(work: Work, id: str, text: str, source: str, now: datetime) -> tuple[Announcement, Announced]:
    """An announcement that is good, and the answer to it.

    Raises: TrustError, RefusedError, MissingError.
    """
    said, envelope = announcement.parse(text)
    if said.id != id:
        raise TrustError(f"an announcement of {said.id} under the name of {id}")
    row = work.one(
        "select genesis, head, signing from identities where kind = ? and number = ?", *registry.split(id)
    )
    if not row or row[0] != said.genesis:
        raise MissingError(f"the hub knows no {id!r} with this first operation")
    head, signing = str(row[1]), str(row[2])
    if not signing:
        raise RefusedError(f"the keys of {id} are revoked", "recover it with its control key")
    envelope.verify([note.Verifier(SIGNER, PublicKey.parse(signing))])
    said.check(now)
    left = max(1, int((said.expires - now).total_seconds()))
    return said, Announced(source, None, left, max(SOONEST, left // 2), head)


def keep(work: Work, said: Announcement, head: str, text: str) -> None:
    """Write it, unless a newer one is there; the very same one again is fine.

    Raises: HeadError, also where the newest operation is not `head` any more, when it was checked.
    """
    row = work.one("select head from identities where genesis = ?", said.genesis)
    if not row or row[0] != head:
        raise HeadError(
            f"the keys of {said.id} changed just now", "announce again", str(row[0]) if row else ""
        )
    # One command, so that two who announce at once cannot both win.
    if not work.one(
        "insert into announcements (genesis, seq, expires, note) values (?, ?, ?, ?) "
        "on conflict (genesis) do update set seq = excluded.seq, expires = excluded.expires, "
        "note = excluded.note where announcements.seq < excluded.seq "
        "or (announcements.seq = excluded.seq and announcements.note = excluded.note) returning seq",
        said.genesis, said.seq, int(said.expires.timestamp()), text,
    ):  # fmt: skip
        row = work.one("select seq from announcements where genesis = ?", said.genesis)
        newest = int(row[0]) if row else 0
        raise HeadError(f"there is an announcement with the seq {newest} already", "take a higher one", head)


def find(work: Work, id: str, now: datetime) -> str:
    """The announcement of `id`, to the letter.

    Raises: MissingError where there is none, or it has expired.
    """
    row = work.one(
        "select a.note, a.expires from identities i left join announcements a on a.genesis = i.genesis "
        "where i.kind = ? and i.number = ?",
        *registry.split(id),
    )
    if not row:
        raise MissingError(f"the hub knows no {id!r}")
    if not row[0]:
        raise MissingError(f"{id} has not announced where it is", "is it running?")
    if int(row[1]) <= now.timestamp():
        raise MissingError(
            f"{id} was last heard of before {datetime.fromtimestamp(int(row[1]), UTC):%Y-%m-%d %H:%M} UTC",
            "is it running?",
        )
    return str(row[0])


def count(work: Work, now: datetime) -> int:
    """How many hosts have announced where they are now."""
    row = work.one("select count(*) from announcements where expires > ?", int(now.timestamp()))
    return int(row[0]) if row else 0


def withdraw(work: Work, genesis: str) -> None:
    """Serve it no more: its key is not in force. The seq stays."""
    work.run("update announcements set note = '', expires = 0 where genesis = ?", genesis)
