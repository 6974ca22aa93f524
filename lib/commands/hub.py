"""`ampzero hub VERB`: run a hub; ask one, as an instance's client."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from keys.hub import Hub
    from keys.hubclient.client import HubClient
    from keys.moving import Moved
    from keys.statement import Statement


@click.group()
@click.option("--json", "as_json", is_flag=True, help="Results as JSON.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Run a hub, or ask one: the server that vouches for the keys of users and hosts.

    Exit codes: 0 done, 5 the hub does not know it, 7 taken, 11 refused (an invite, a quota, a signature, or a
    hub that was caught lying), 12 the hub cannot be reached.

    \b
    Examples:
      ampzero hub serve
      ampzero hub lookup host-7
      ampzero hub move kickass https://hub.example#FINGERPRINT
    """
    context.obj = as_json


def _data(function: Any) -> Any:
    """The options that name a hub's folder and its database."""
    function = click.option(
        "--database", default="", metavar="URL", help="PostgreSQL in place of SQLite."
    )(function)  # fmt: skip
    return click.option("--data", "folder", type=click.Path(path_type=Path), metavar="FOLDER",
                        help="Its folder; default: `hub-server` in your data folder.")(function)  # fmt: skip


@command.command()
@_data
@click.option("--listen", default="127.0.0.1:8150", metavar="HOST:PORT", show_default=True)
@click.option(
    "--origin", default="", metavar="NAME", help="A new hub's name, for ever; default: its URL's host."
)
@click.option(
    "--url", default="", metavar="URL", help="Where others reach a new hub; https, but on the loopback."
)
@click.option(
    "--tls-certificate", type=click.Path(path_type=Path), metavar="FILE", help="PEM, with its chain."
)
@click.option(
    "--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="PEM; SIGHUP reads both again."
)
@click.option("--trusted-proxy", "proxies", multiple=True, metavar="NETWORK",
              help="Whose X-Forwarded-For counts, as 127.0.0.1; may be given again.")  # fmt: skip
@click.option("--metrics-from", "scrapers", multiple=True, default=("127.0.0.0/8", "::1"), metavar="NETWORK",
              show_default=True, help="Who may read /metrics.")  # fmt: skip
@click.option("--invites", is_flag=True, help="A user needs an invite to register.")
@click.option("--rate", "rates", multiple=True, metavar="NAME=COUNT/SECONDS",
              help="Change a rate limit: register, operate, announce, look, host, identity.")  # fmt: skip
@click.option("--quota", "quotas", multiple=True, metavar="NAME=COUNT",
              help="Change a quota, 0 for none: hosts, registrations, operations.")  # fmt: skip
@click.pass_obj
def serve(
    as_json: bool, folder: Path | None, database: str, listen: str, origin: str, url: str,
    tls_certificate: Path | None, tls_key: Path | None, proxies: tuple[str, ...], scrapers: tuple[str, ...],
    invites: bool, rates: tuple[str, ...], quotas: tuple[str, ...],
) -> int:  # fmt: skip
    """Run a hub until SIGTERM or Ctrl-C; the first line is its URL#FINGERPRINT.

    A hub is made where there is none. Behind a proxy say --trusted-proxy; without one it needs a certificate
    of its own, but for loopback addresses. docs/hub.md has both.

    \b
    Examples:
      ampzero hub serve
      ampzero hub serve --url https://hub.example --trusted-proxy 127.0.0.1
      ampzero hub serve --listen 0.0.0.0:443 --url https://hub.example \\
        --tls-certificate chain.pem --tls-key key.pem
    """
    import lib.console as console
    from keys.hubserver import opening, running
    from keys.hubserver.app import App
    from keys.hubserver.calls import Calls
    from keys.hubserver.rates import rates as chosen_rates
    from keys.hubserver.source import networks
    from lib.errors import UsageError

    if (tls_certificate is None) != (tls_key is None):
        raise UsageError("a certificate and its key belong together", "--tls-certificate FILE --tls-key FILE")
    tls = (tls_certificate, tls_key) if tls_certificate and tls_key else None
    if tls:
        running.check_files(*tls)
    trusted, allowed, limits = networks(proxies), networks(scrapers), chosen_rates(rates)
    options = opening.quotas(quotas, invites=invites)
    listener, address = running.listen(*running.parse_address(listen))
    hub = None
    try:
        hub = opening.open_or_make(
            folder or opening.default_folder(), address, is_tls=tls is not None, origin=origin, url=url,
            database=database, options=options,
        )  # fmt: skip
        reference = str(opening.reference(hub))

        def started() -> None:
            fields = {"url": reference, "listen": f"{address[0]}:{address[1]}"}
            _show(as_json, fields, [reference])
            sys.stdout.flush()
            console.say(f"the hub {hub.name} listens at {fields['listen']}")

        running.serve(
            App(Calls(hub, allowed), limits, trusted, console.warn), listener, tls, started, console.warn
        )
    finally:
        listener.close()
        if hub is not None:
            hub.close()
    return 0


@command.command()
@_data
@click.option("--days", default=7, type=click.IntRange(1, 365), show_default=True, help="How long it holds.")
@click.pass_obj
def invite(as_json: bool, folder: Path | None, database: str, days: int) -> int:
    """Make an invite: whoever has it may register one user."""
    from datetime import timedelta

    with _hub(folder, database) as hub:
        word = hub.invite(timedelta(days=days))
    return _show(as_json, {"invite": word, "days": days}, [word])


@command.command()
@_data
@click.argument("target", type=click.Path(path_type=Path), metavar="TARGET")
@click.pass_obj
def backup(as_json: bool, folder: Path | None, database: str, target: Path) -> int:
    """Copy the hub to the new folder TARGET, also while it serves. No secret is in it."""
    from keys.hub.backup import back_up

    with _hub(folder, database) as hub:
        said = back_up(hub, target)
    return _show(as_json, {"target": str(target), "log_size": said.size}, [f"{said.size} log entries"])


@command.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="SOURCE")
@click.option("--data", "folder", type=click.Path(path_type=Path), metavar="FOLDER",
              help="The hub's folder; default: `hub-server` in your data folder.")  # fmt: skip
@click.option("--seen", multiple=True, type=click.Path(path_type=Path, exists=True), metavar="FILE",
              help="A checkpoint that a client has seen; may be given again.")  # fmt: skip
@click.pass_obj
def restore(as_json: bool, source: Path, folder: Path | None, seen: tuple[Path, ...]) -> int:
    """Put the back-up SOURCE in place, where no signed history is lost. The hub must not run."""
    from keys.hub.backup import restore as restoring
    from keys.hubserver import opening

    texts = [path.read_text(errors="replace") for path in seen]
    said = restoring(source, folder or opening.default_folder(), texts)
    return _show(as_json, {"log_size": said.size}, [f"restored: {said.size} log entries"])


@command.group("root")
def root_() -> None:
    """Make the next version of a hub's root note: draft, sign where the root keys are, install."""


@root_.command()
@_data
@click.option("--url", default="", metavar="URL", help="The hub's new URL.")
@click.option("--new-online-key", is_flag=True, help="Another key signs statements from then on.")
@click.option("--root-key", "roots", multiple=True, metavar="'ssh-ed25519 AAAA…'",
              help="The root keys in place of those of now; may be given again.")  # fmt: skip
@click.option("--threshold", default=0, type=click.IntRange(0, 5), help="How many of them must sign.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Where it is written."
)
def draft(
    folder: Path | None, database: str, url: str, new_online_key: bool, roots: tuple[str, ...],
    threshold: int, out: Path,
) -> int:  # fmt: skip
    """Write the text of the next version to FILE. Nobody has signed it yet."""
    from datetime import UTC, datetime

    import lib.console as console
    from keys import root
    from keys.hub import rootnotes
    from keys.hubclient.reference import check_url
    from keys.hubserver import opening
    from keys.publickey import PublicKey
    from lib.errors import TakenError
    from lib.files import write_new

    where = folder or opening.default_folder()
    current = root.verify(rootnotes.read(where))
    text = rootnotes.draft(
        current, datetime.now(UTC), url=check_url(url) if url else "",
        online=rootnotes.next_online_key(where) if new_online_key else None,
        roots=tuple(PublicKey.parse(line) for line in roots), threshold=threshold,
    )  # fmt: skip
    if not write_new(out, text, 0o644):
        raise TakenError(f"{out} exists", "name another file")
    console.say(
        f"sign it with root keys of version {current.version}, and of the new one: ampzero hub root sign"
    )
    return 0


@root_.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True), metavar="FILE")
@click.option(
    "--key", required=True, type=click.Path(path_type=Path), metavar="KEY", help="A root key's file."
)
@click.option("--passphrase-file", metavar="FILE", help="Open the key with the first line of FILE.")
def sign(file: Path, key: Path, passphrase_file: str | None) -> int:
    """Add a root key's signature to the draft in FILE. Needs no hub and no network."""
    from keys import keyfile
    from keys.hub import rootnotes
    from keys.reading import read_passphrase
    from lib.files import write_atomic

    signed = rootnotes.add_signature(file.read_text(), keyfile.load(key, read_passphrase(passphrase_file)))
    write_atomic(file, signed, 0o644)
    return 0


@root_.command()
@_data
@click.argument("file", type=click.Path(path_type=Path, exists=True), metavar="FILE")
@click.pass_obj
def install(as_json: bool, folder: Path | None, database: str, file: Path) -> int:
    """Make the note in FILE the newest root. A hub that runs takes it when it is started again."""
    from keys.hub import rootnotes
    from keys.hubserver import opening

    said = rootnotes.install(folder or opening.default_folder(), file.read_text())
    return _show(as_json, {"root_version": said.version}, [f"root version {said.version}"])


@command.command()
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
    return _show(as_json, fields, lines)


@command.command()
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
    return _show(as_json, fields, lines)


@command.command()
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
    return _show(as_json, {"hub": hub.name, "entries": fields}, lines)


@command.command()
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


@command.command("move")
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


@command.command()
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
    return _show(
        as_json, fields, [f"{key}: {'unknown' if value is None else value}" for key, value in fields.items()]
    )


def _show(as_json: bool, fields: Any, lines: list[str]) -> int:
    import lib.console as console

    if as_json:
        import json

        console.out(json.dumps(fields, indent=2))
    else:
        for line in lines:
            console.out(line)
    return 0


@contextmanager
def _hub(folder: Path | None, database: str) -> Iterator[Hub]:
    """The hub in `folder`, for a command beside the one that serves it."""
    from keys.hub import Hub
    from keys.hubserver import opening

    hub = Hub.open(folder or opening.default_folder(), database=database)
    try:
        yield hub
    finally:
        hub.close()


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
    return _show(as_json, fields, lines)
