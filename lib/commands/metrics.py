"""`ampzero metrics NAME`: the numbers of a running instance, as Prometheus reads them."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.option("-f", "--file", "procfile", type=click.Path(), help="The instance that this Procfile is.")
@click.option(
    "--json", "as_json", is_flag=True, help="The status instead, with cpu and memory of each process."
)
def command(name: str, procfile: str | None, as_json: bool) -> int:
    """Print what the processes of the instance NAME do and use, as Prometheus text.

    For the textfile collector: ampzero metrics NAME > /var/lib/node_exporter/NAME.prom. With `metrics: 9100`
    in amprun.yaml the same is at http://127.0.0.1:9100/metrics.

    Exit codes: 0 printed, 10 it does not run.

    \b
    Examples:
      ampzero metrics kickass
      ampzero metrics kickass > /var/lib/node_exporter/kickass.prom
    """
    import lib.console as console
    from lib import running
    from lib.whereabouts import open_running

    found = running.status(open_running(name, procfile))
    if as_json:
        import json

        from lib.control.stats import Meter, fill

        fill(found, Meter())
        console.out(json.dumps(found, indent=2))
    else:
        from lib.control.metrics import expose

        console.out(expose(found).rstrip("\n"))
    return 0
