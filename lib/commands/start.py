"""`ampzero start NAME [SERVICE…]`: start services of an instance that runs."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option("-f", "--file", "procfile", type=click.Path(), help="The instance that this Procfile is.")
def command(name: str, services: tuple[str, ...], procfile: str | None) -> None:
    """Start SERVICE… (default: all) of the running instance NAME; returns when they are ready.

    A service that waits for its schedule, when it is named, runs now; its schedule goes on after that.

    \b
    Examples:
      ampzero start kickass           all that is stopped
      ampzero start kickass redis web.2
    """
    import lib.console as console
    from lib import running
    from lib.whereabouts import open_running_named

    instance, services = open_running_named("start", name, services, procfile)
    running.connect(instance).call("start", running.START_TIME, services=list(services))
    console.out(f"{', '.join(services) or 'everything'} ready")
