"""`ampzero releases NAME`: what was deployed, when, and how it went."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.option(
    "--env", "environment", metavar="ENVIRONMENT", help="Which hosts; not needed where there is one."
)
@click.option("--config", type=click.Path(), help="Another file in place of deployment.yaml.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON array, the newest first.")
def command(name: str, environment: str | None, config: str | None, as_json: bool) -> int:
    """The last deploys of the instance NAME to its hosts, the newest first, with the reason of each failure.

    \b
    Examples:
      ampzero releases kickass
      ampzero releases kickass --env stage --json
    """
    import json
    import time

    import lib.console as console
    from deploy.earlier import history
    from lib.commands.deploy import opened

    with opened(name, environment, config, None, signs=False) as work:
        with work.coordinator.fleet() as fleet:
            work.coordinator.connect(fleet, 1)
            deploys = history(fleet)
            live = {member.facts.current.release for member in fleet.alive if member.facts.current}
        work.view.close()
        if as_json:
            console.out(json.dumps(deploys))
            return 0
        for entry in deploys:
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["time"]))
            mark = "*" if entry["release"] in live else " "
            live.discard(entry["release"])
            why = f": {entry['reason']}" if entry.get("reason") else ""
            console.out(
                f"{mark} {entry['release']}  {when}  {entry['commit'][:12]:12}  {entry['outcome']}{why}"
            )
        if not deploys:
            console.out(f"nothing was deployed to {work.environment.name} yet")
        return 0
