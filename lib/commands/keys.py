"""`ampzero keys VERB NAME`: an instance's keys looked at, changed, verified, and used as SSH's authority."""

from __future__ import annotations

from pathlib import Path

import click

from lib.commands.verbs import keychange, keyssh
from lib.commands.verbs.keyring import NAME, folder_of, loaded

JSON = click.option("--json", "as_json", is_flag=True, help="As a JSON object.")


@click.group()
def command() -> None:
    """The keys of an instance: list, rotate, revoke, recover, verify them; certificates for SSH.

    NAME is an instance, or its folder. Keys are changed at their hub and on the disk together; where that is
    interrupted, the same command completes it.

    \b
    Examples:
      ampzero keys verify kickass
      ampzero keys rotate kickass host
      ampzero keys recovery kickass /media/stick/recovery.key
      ampzero keys ssh-cert kickass
    """


@command.command("list")
@click.argument("name", default=".", metavar="[NAME]")
@JSON
def list_(name: str, as_json: bool) -> int:
    """Every key file of NAME: whose, fingerprint, mode, with a passphrase or not."""
    import json

    import lib.console as console
    from keys.lifecycle.listing import listing

    found = listing(loaded(folder_of(name)))
    if as_json:
        console.out(json.dumps([row.described() for row in found], indent=2))
        return 0
    width = max(len(row.name) for row in found)
    for row in found:
        console.out(f"{row.name:{width}}  {row.mode or 'none'}  {row.fingerprint:50}  {row.what}".rstrip())
    return 0


@command.command()
@NAME
@click.argument("who", type=click.Choice(("user", "host")), required=False)
@JSON
def show(name: str, who: str | None, as_json: bool) -> int:
    """What the hub says of the user and the host of NAME, or of one of them."""
    import json

    import lib.console as console
    from keys.lifecycle.listing import described

    found = loaded(folder_of(name))
    said = {"user": found.user, "host": found.host}
    chosen = {kind: described(each) for kind, each in said.items() if who in (None, kind)}
    if as_json:
        console.out(json.dumps(chosen, indent=2))
        return 0
    for fields in chosen.values():
        for label, value in fields.items():
            for each in value if isinstance(value, list) else [value]:
                console.out(f"{label:8} {each}")
    return 0


@command.command()
@NAME
@click.option("-o", "--output", metavar="FILE", help="Default: NAME.identity.json here; - is the output.")
def export(name: str, output: str | None) -> int:
    """Write what is public of NAME's identity into one file, which `keys verify` believes without a hub."""
    import lib.console as console
    from keys.hubs import open_hub
    from keys.lifecycle import bundle
    from keys.lifecycle.hubside import complete_chains
    from lib.files import write_atomic

    folder = folder_of(name)
    found = loaded(folder)
    hub = open_hub(folder)
    complete_chains(folder, found, hub)
    raw = bundle.encode(bundle.from_hub(hub, folder, found))
    if output == "-":
        console.out(raw.decode().rstrip())
        return 0
    path = Path(output or f"{folder.parent.name}.identity.json")
    write_atomic(path, raw)
    console.out(str(path))
    return 0


@command.command()
@click.argument("name", default=".", metavar="[NAME|FILE]")
@click.option("--online", is_flag=True, help="Ask the hub as well whether there is anything newer.")
@JSON
def verify(name: str, online: bool, as_json: bool) -> int:
    """Check the whole chain of trust of NAME's keys, or of a file of `keys export`, and explain it.

    Nothing is asked but the files. Exit codes: 0 all that can be checked holds, 1 something does not.

    \b
    Examples:
      ampzero keys verify kickass
      ampzero keys verify kickass.identity.json
    """
    import json

    import lib.console as console
    from keys.errors import TrustError
    from keys.hubs import open_hub
    from keys.lifecycle.verifying import verify_file, verify_folder

    path = Path(name)
    if path.is_file():
        report = verify_file(path)
    else:
        folder = folder_of(name)
        report = verify_folder(folder, open_hub(folder) if online else None)
    if as_json:
        console.out(
            json.dumps([{"verdict": one.verdict, "text": one.text} for one in report.findings], indent=2)
        )
    else:
        colours = {"ok": "green", "WRONG": "red", "--": "dim"}
        for one in report.findings:
            console.out(f"{console.paint(f'{one.verdict:5}', colours[one.verdict])}  {one.text}")
    if report.problems:
        raise TrustError(f"{name} is not to be trusted: {report.problems[0]}", "docs/keys.md says what to do")
    return 0


for verb in (
    keychange.rotate, keychange.revoke, keychange.recover, keychange.recovery,
    keyssh.ssh_ca, keyssh.ssh_cert, keyssh.ssh_host_cert, keyssh.ssh_krl,
):  # fmt: skip
    command.add_command(verb)
