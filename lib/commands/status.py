"""`ampzero status NAME`: every service, its processes, and why one is down."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.option("-f", "--file", "procfile", type=click.Path(), help="The instance that this Procfile is.")
@click.option("--json", "as_json", is_flag=True, help="All of it, as one JSON object.")
def command(name: str, procfile: str | None, as_json: bool) -> int:
    """Show every service of the instance NAME, its processes, and why one is down.

    Exit codes: 0 everything is ready, 6 something is not, 10 it does not run.

    \b
    Examples:
      ampzero status                  the instance in this folder
      ampzero status kickass --json
    """
    import lib.console as console
    from lib import running
    from lib.whereabouts import open_running

    found = running.status(open_running(name, procfile))
    if as_json:
        import json

        console.out(json.dumps(found, indent=2))
    else:
        from lib.statusview import lines

        for line in lines(found):
            console.out(line)
    return 0 if found["state"] == "ready" else 6
