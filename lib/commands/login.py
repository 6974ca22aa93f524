"""`ampzero login NAME`: print a one-time link that signs a browser in to the instance's console."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.option("-f", "--file", "procfile", type=click.Path(), help="The instance that this Procfile is.")
def command(name: str, procfile: str | None) -> None:
    """Print a link that signs a browser in to the console of NAME: once, within ten minutes.

    Exit codes: 0 done, 2 the instance has no console, 10 it does not run.

    \b
    Examples:
      ampzero login kickass
      xdg-open "$(ampzero login kickass)"
    """
    import lib.console as console
    from lib import running
    from lib.login import make_link
    from lib.whereabouts import open_running

    instance = open_running(name, procfile)
    running.status(instance)  # a link to nothing would only puzzle its user: this raises NotRunningError
    console.out(make_link(instance))
