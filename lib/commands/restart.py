"""`ampzero restart NAME [SERVICE…]`: stop services of a running instance and start them again."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option("--rolling", is_flag=True, help="One process after the other, each ready before the next.")
@click.option("-f", "--file", "procfile", type=click.Path(), help="The instance that this Procfile is.")
def command(name: str, services: tuple[str, ...], rolling: bool, procfile: str | None) -> None:
    """Restart SERVICE… (default: all) of the running instance NAME; returns when they are ready.

    With --rolling a service that has its sockets from the supervisor loses no request, and one that does not
    become ready leaves its predecessor in place.

    \b
    Examples:
      ampzero restart kickass web
      ampzero restart kickass web.2   one process of it
      ampzero restart kickass ampnode --rolling
    """
    import lib.console as console
    from lib import running
    from lib.whereabouts import open_running_named

    instance, services = open_running_named("restart", name, services, procfile)
    running.connect(instance).call("restart", running.START_TIME, services=list(services), rolling=rolling)
    console.out(f"{', '.join(services) or 'everything'} ready")
