"""`ampzero hub VERB`: run a hub; ask one, as an instance's client."""

from __future__ import annotations

import click

from lib.commands.verbs import hubclient, hubroot, hubserver


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


for verb in (
    hubserver.serve, hubserver.invite, hubserver.backup, hubserver.restore, hubroot.root_,
    hubclient.status, hubclient.lookup, hubclient.log,
    hubclient.register, hubclient.move_, hubclient.announce,
):  # fmt: skip
    command.add_command(verb)
