"""What a hub is asked for, as an instance's client; it is believed nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lib.commands.verbs.output import show

if TYPE_CHECKING:
    from keys.hubclient.client import HubClient
    from keys.moving import Moved
    from keys.statement import Statement


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.option("--hub", "reference", metavar="URL#FINGERPRINT", help="This hub in place of the instance's.")
@click.pass_obj
def status(as_json: bool, name: str, reference: str | None) -> int:
    """Show the hub of the instance NAME: who it is, its log, and whether it was ever caught."""
    hub = _remote(name, reference)
    hub.refresh()
    now = hub.log.look()
    fields: dict[str, Any] = {
        "hub": hub.name,
        "url": str(hub.reference()),
        "root_version": hub.root.version,
        "online_key": hub.root.online.fingerprint,
        "log_size": now.size,
        "evidence": [str(path) for path in hub.evidence()],
    }
    lines = [
        f"hub: {fields['hub']}",
        f"url: {fields['url']}",
        f"root: version {fields['root_version']}, {hub.root.threshold} of {len(hub.root.roots)} root keys",
        f"online key: {fields['online_key']}",
        f"log: {now.size} entries, grown out of what was seen before",
    ]
    for path in fields["evidence"]:
        lines.append(f"CAUGHT: {path}")
    return show(as_json, fields, lines)


@click.command()
@click.argument("id", metavar="ID")
@click.option("-i", "--instance", "name", default=".", metavar="NAME", help="Whose hub is asked.")
@click.option("--hub", "reference", metavar="URL#FINGERPRINT", help="This hub in place of the instance's.")
@click.pass_obj
def lookup(as_json: bool, id: str, name: str, reference: str | None) -> int:
    """Show who ID is, as user-23 or host-7: its keys and history, all of it verified here."""
    from keys.fields import parse_id

    parse_id(id)
    hub = _remote(name, reference)
    said, known = hub.prove(id)
    fields = _statement_fields(said)
    fields["operations"] = [
        {"seq": one.operation.seq, "action": one.operation.action, "digest": one.operation.digest}
        for one in known.operations
    ]
    lines = [
        f"id: {said.id} (hub {said.hub})",
        *((f"owner: {said.owner.id}",) if said.owner else ()),
        f"genesis: {said.genesis}",
        f"signing key: {said.signing.fingerprint if said.signing else 'none: revoked'}",
        *(f"control key: {one.key.fingerprint} of {one.holder}" for one in said.control),
        *(
            f"operation {one.operation.seq}: {one.operation.action}, {one.operation.digest}"
            for one in known.operations
        ),
        f"verified: these operations lead to these keys, and the newest is entry {said.index} of the log",
    ]
    announced = _announced(hub, said)
    if announced:
        fields["announcement"] = announced
        lines.append(
            f"announced until {announced['expires']}: {' '.join(announced['addresses']) or 'no address'}"
        )
    return show(as_json, fields, lines)


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.option("--hub", "reference", metavar="URL#FINGERPRINT", help="This hub in place of the instance's.")
@click.option("--last", default=10, type=click.IntRange(1, 256), show_default=True, help="How many entries.")
@click.pass_obj
def log(as_json: bool, name: str, reference: str | None, last: int) -> int:
    """Show the newest entries of the hub's log, each proven to be in it."""
    hub = _remote(name, reference)
    found = hub.log.newest(last)
    fields = [
        {"index": index, "id": id, "seq": one.seq, "action": one.action, "digest": one.digest}
        for index, id, one in found
    ]
    lines = [f"{index} {id} {one.seq} {one.action} {one.digest}" for index, id, one in found]
    return show(as_json, {"hub": hub.name, "entries": fields}, lines)


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.option("--invite", default="", metavar="WORD", help="An invite, where the hub wants one.")
@click.pass_obj
def register(as_json: bool, name: str, invite: str) -> int:
    """See that the hub of the instance NAME knows its user and host, and renew their statements.

    It is what makes a hub complete again that was restored from a back-up. May be repeated.
    """
    from keys.hubs import open_hub
    from keys.moving import move

    folder = _folder(name)
    return _moved(as_json, move(folder, open_hub(folder), invite))


@click.command("move")
@click.argument("name")
@click.argument("reference", metavar="URL#FINGERPRINT|local")
@click.option("--invite", default="", metavar="WORD", help="An invite, where the hub wants one.")
@click.pass_obj
def move_(as_json: bool, name: str, reference: str, invite: str) -> int:
    """Move the user and the host of the instance NAME to another hub.

    Their first operations stay, so whoever knows them knows them still; the ids are the new hub's. Killed at
    any moment, the same command completes it.
    """
    from keys.hubs import named_hub
    from keys.moving import move

    folder = _folder(name)
    return _moved(as_json, move(folder, named_hub(reference), invite))


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.option("--address", "addresses", multiple=True, metavar="IP:PORT", help="May be given again.")
@click.option(
    "--minutes", default=30, type=click.IntRange(1, 60), show_default=True, help="How long it holds."
)
@click.option("--passphrase-file", metavar="FILE", help="Open the host's key with the first line of FILE.")
@click.pass_obj
def announce(
    as_json: bool, name: str, addresses: tuple[str, ...], minutes: int, passphrase_file: str | None
) -> int:
    """Announce addresses of the instance NAME by hand; a running instance does it by itself."""
    import msgspec

    from keys.announcing import announce_once
    from keys.hubs import open_hub
    from keys.reading import read_passphrase

    folder = _folder(name)
    answer = announce_once(folder, open_hub(folder), addresses, minutes, read_passphrase(passphrase_file))
    fields = msgspec.to_builtins(answer)
    return show(
        as_json, fields, [f"{key}: {'unknown' if value is None else value}" for key, value in fields.items()]
    )


def _folder(name: str) -> Path:
    """The folder of the key files of the instance `name`."""
    from lib.errors import MissingError
    from lib.instance import find

    folder = find(name) / "ampnode"
    if not (folder / "hub.public.key").is_file():
        raise MissingError(f"{folder.parent} has no keys", "ampzero init makes them")
    return folder


def _remote(name: str, reference: str | None) -> HubClient:
    """The hub that was named, or else the instance's; it must be a server."""
    from keys.hubclient.client import HubClient
    from keys.hubclient.reference import parse_reference
    from keys.hubs import root_note

    if reference is not None:
        return HubClient.connect(parse_reference(reference))
    return HubClient.known(root_note(_folder(name)))


def _statement_fields(said: Statement) -> dict[str, Any]:
    from keys.fields import moment

    return {
        "id": said.id,
        "hub": said.hub,
        "genesis": said.genesis,
        "head": said.head,
        "seq": said.seq,
        "signing": str(said.signing) if said.signing else None,
        "control": [{"key": str(one.key), "holder": one.holder} for one in said.control],
        "owner": said.owner.id if said.owner else None,
        "index": said.index,
        "expires": moment(said.expires),
    }


def _announced(hub: HubClient, said: Statement) -> dict[str, Any] | None:
    """What the host announces, signed by the key that was just proven to be its own; None for nothing."""
    from datetime import UTC, datetime

    from keys import announcement
    from keys.fields import moment
    from lib.errors import MissingError

    if said.signing is None or not said.id.startswith("host-"):
        return None
    try:
        told = announcement.verify(hub.announcement(said.id), said.signing, datetime.now(UTC))
    except MissingError:
        return None
    return {
        "addresses": list(told.addresses),
        "pin": told.pin,
        "seq": told.seq,
        "expires": moment(told.expires),
    }


def _moved(as_json: bool, moved: Moved) -> int:
    import lib.console as console

    after = moved.identities
    for text in (*moved.warnings, *after.warnings):
        console.warn(text)
    fields = {"user": after.user_id, "host": after.host_id, "hub": after.hub, "genesis": after.user.genesis,
              "changed": moved.changed}  # fmt: skip
    lines = [f"{before} is {now} at the hub {after.hub}"
             for before, now in zip(moved.before, (after.user_id, after.host_id), strict=True)]  # fmt: skip
    if not moved.changed:
        lines.append("nothing to change")
    elif not as_json:
        console.say("commit the changed key files; an instance that runs uses them after a restart")
    return show(as_json, fields, lines)
