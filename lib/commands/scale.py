"""`ampzero scale NAME web=4`: more or fewer processes of a service, live."""

from __future__ import annotations

import click


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name", metavar="NAME")
@click.argument("words", nargs=-1, metavar="SERVICE=NUMBER...")
@click.option("-f", "--file", "procfile", type=click.Path(), help="The instance that this Procfile is.")
def command(name: str, words: tuple[str, ...], procfile: str | None) -> None:
    """Let each SERVICE of the running instance NAME have NUMBER processes (+1 and -1: more or fewer).

    It holds until the instance is stopped; write `processes:` into amprun.yaml to have it always.

    \b
    Examples:
      ampzero scale kickass ampnode=4
      ampzero scale kickass worker=+1 mail=0
    """
    import lib.console as console
    from lib import running, scaling
    from lib.commands.run import certify
    from lib.errors import UsageError
    from lib.loader import open_instance
    from lib.reloading import Reload, begin

    if procfile:
        name, words = ".", (name, *words)
    if "=" in name:
        raise UsageError("the instance comes before SERVICE=NUMBER", f"ampzero scale . {name}")
    if not words:
        raise UsageError("no service and number given", f"for example: ampzero scale {name} web=4")
    instance = open_instance(name, procfile)
    lock = begin(instance)
    now = {service["name"]: len(service["processes"]) for service in running.status(instance)["services"]}
    before = scaling.read(instance)
    wanted = scaling.wishes(words, now)
    scaling.remember(instance, wanted)
    try:
        Reload(instance, certify, frozenset(wanted), lock).carry_out()
    except BaseException:
        scaling.forget(instance)
        scaling.remember(instance, before)
        raise
    console.out(", ".join(f"{service}={number}" for service, number in wanted.items()))
