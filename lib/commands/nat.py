"""`ampzero nat VERB`: the port of an instance that a gateway leads the world to."""

from __future__ import annotations

import click


@click.group()
def command() -> None:
    """The port of an instance that the gateway of your network leads the world to (docs/nat.md).

    \b
    Examples:
      ampzero nat test                what the gateway here can do; nothing is mapped
      ampzero nat status kickass      what the running instance keeps
    """


@command.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
def status(name: str, as_json: bool) -> int:
    """The mapping that the running instance NAME keeps: how, which address and port, for how long.

    Exit codes: 0 a port is mapped or needs no mapping, 6 none is, 10 it does not run.

    \b
    Examples:
      ampzero nat status
      ampzero nat status kickass --json
    """
    import lib.console as console
    from lib import running
    from lib.whereabouts import open_running

    found = running.status(open_running(name))["nat"]
    if as_json:
        import json

        console.out(json.dumps(found, indent=2))
    else:
        console.out(f"nat: {found['state']} ({found['why']})")
    return 0 if found["state"] in ("mapped", "direct") else 6


@command.command()
@click.option("--map", "mapped", is_flag=True, help="Also have a random port mapped, and remove it at once.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
def test(mapped: bool, as_json: bool) -> int:
    """Look for the gateways of this network now, and say what each offers and which address it has outside.

    Nothing is mapped without --map, and nobody is dialled: from inside it may fail although the world can.

    Exit codes: 0 a port can be mapped, or need not be, 12 it cannot.

    \b
    Examples:
      ampzero nat test
      ampzero nat test --map --json
    """
    import lib.console as console
    from lib.errors import UnreachableError
    from lib.nat import trial

    found = trial.look(mapped=mapped)
    if as_json:
        import json

        console.out(json.dumps(trial.described(found), indent=2))
    else:
        for line in trial.lines(found):
            console.out(line)
    return UnreachableError.exit_code if found.possible is False else 0
