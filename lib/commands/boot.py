"""`ampzero boot install|remove|status NAME`: it starts with the machine, and again when it dies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lib.boot.base import State


@click.command()
@click.argument("action", type=click.Choice(("install", "remove", "status", "start")))
@click.argument("name", default=".", metavar="[NAME]")
@click.option("-f", "--file", "file", type=click.Path(), help="The instance that this Procfile is.")
@click.option("--user", is_flag=True, help="As a service of this user: without root rights.")
@click.option("--server", is_flag=True, help="Keep `ampzero run --server` up.")
@click.option("--json", "as_json", is_flag=True, help="The status as one JSON object.")
def command(action: str, name: str, file: str | None, user: bool, server: bool, as_json: bool) -> int:
    """Have the host keep the instance NAME up: systemd where it runs, else supervisord.

    install starts it now as well; remove stops it and undoes all; start does what a boot does.
    status: exit code 0 when it is installed and runs, 10 when not.

    \b
    Examples:
      ampzero boot install kickass --server
      ampzero boot status kickass
      ampzero boot remove kickass
    """
    import lib.console as console
    from lib.boot import keeper
    from lib.exporters.target import plain_target
    from lib.loader import open_instance

    instance = open_instance(name, file)
    kept = keeper(plain_target(instance, instance.var / "boot", user=user), server=server)
    if action == "install":
        for line in kept.install():
            console.out(line)
    elif action == "start":
        kept.start()
    elif action == "remove":
        for line in kept.remove() or [f"{instance.name} was not installed"]:
            console.out(line)
    else:
        return _show(kept.state(), as_json)
    return 0


def _show(state: State, as_json: bool) -> int:
    import dataclasses
    import json

    import lib.console as console

    if as_json:
        console.out(json.dumps(dataclasses.asdict(state), indent=2))
    else:
        console.out(f"keeper     {state.keeper}: {'installed' if state.installed else 'not installed'}")
        console.out(f"now        {'runs' if state.runs else 'does not run'}: {state.detail}")
        console.out(f"at boot    {state.at_boot}")
    return 0 if state.installed and state.runs else 10
