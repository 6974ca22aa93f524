"""`ampzero stop NAME [SERVICE…]`: end an instance, or some of its services, in order."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option("-f", "--file", "procfile", type=click.Path(), help="The instance that this Procfile is.")
def command(name: str, services: tuple[str, ...], procfile: str | None) -> None:
    """Stop the instance NAME, or only SERVICE…: gracefully, those first that need others.

    It succeeds only when every process is gone and every port is free; otherwise it names what is left.

    \b
    Examples:
      ampzero stop kickass            the whole instance
      ampzero stop kickass web        only this service
      ampzero stop -f Procfile
    """
    from lib.commands.quit import end

    end(name, services, procfile, at_once=False)
