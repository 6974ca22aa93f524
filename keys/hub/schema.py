"""The tables of a hub, in SQL that SQLite and PostgreSQL share, and how older ones become these.

Format 1 was the local hub's before there was a log: `identities` and `operations` without the columns and
tables below. Who reads this file to look into a database: `sqlite3 hub.sqlite .schema` shows the same.
"""

from __future__ import annotations

from keys import chain, operation
from keys.hub import logbook
from keys.hub.database import Database, Work
from lib.errors import AmpzeroError

VERSION = 2

FIRST = """
create table identities (
    genesis text primary key,
    kind text not null check (kind in ('user', 'host')),
    number integer not null check (number >= 1),
    owner text references identities (genesis),
    statement text not null,
    unique (kind, number)
);
create table operations (
    log_index integer primary key,
    genesis text not null,
    seq integer not null,
    note text not null,
    unique (genesis, seq)
);
"""

SECOND = """
alter table identities add column head text not null default '';
alter table identities add column signing text not null default '';
alter table identities add column renew_after bigint not null default 0;
create index identities_owner on identities (owner);
create table log_hashes (
    level integer not null,
    number integer not null,
    hash blob not null,
    primary key (level, number)
) without rowid;
create table announcements (
    genesis text primary key,
    seq bigint not null,
    expires bigint not null,
    note text not null
);
create table invites (
    digest text primary key,
    expires bigint not null,
    used_by text not null default ''
);
create table registrations (
    prefix text not null,
    day integer not null,
    count integer not null,
    primary key (prefix, day)
);
create table facts (
    name text primary key,
    value text not null
);
"""
"""`head`: digest of the newest operation. `signing`: the key in force, '' while revoked. `renew_after` and
`expires`: seconds since 1970. `log_hashes`: hashes of entries (level 0) and of full tiles of the level below,
as tlog-tiles has them. `announcements.note` is '' once its key is not in force any more. `facts`: `online`,
the key that signed the statements."""


def prepare(database: Database) -> None:
    """Make the tables, or bring older ones up to date, in one transaction; what is in them stays.

    Raises: AmpzeroError for the tables of a newer ampzero, StorageError, TakenError.
    """
    if database.version() == VERSION:
        return
    with database.writing() as work:
        # Another process may have been quicker between the two questions.
        version = database.version()
        if version > VERSION:
            raise AmpzeroError(
                f"{database.place} has the format {version}, this ampzero knows {VERSION}",
                "use the newer ampzero that wrote it",
            )
        for number, commands in enumerate((FIRST, SECOND), 1):
            if version < number:
                for command in commands.split(";\n"):
                    if command.strip():
                        work.run(command)
        if version == 1:
            _fill(work)
        if version < VERSION:
            database.set_version(work, VERSION)


def _fill(work: Work) -> None:
    """What is new in format 2, from what was there in format 1."""
    for (genesis,) in work.all("select genesis from identities"):
        rows = work.all("select note from operations where genesis = ? order by seq", genesis)
        state = chain.verify(operation.parse(str(row[0])) for row in rows)
        work.run(
            "update identities set head = ?, signing = ? where genesis = ?",
            state.head, str(state.signing or ""), genesis,
        )  # fmt: skip
    for (index,) in work.all("select log_index from operations order by log_index"):
        logbook.add_hashes(work, int(index), logbook.entries(work, int(index), int(index) + 1))
