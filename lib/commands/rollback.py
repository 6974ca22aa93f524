"""`ampzero rollback NAME`: go back to the release that was healthy before."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.argument("release", default="", metavar="[RELEASE]")
@click.option(
    "--env", "environment", metavar="ENVIRONMENT", help="Which hosts; not needed where there is one."
)
@click.option("--config", type=click.Path(), help="Another file in place of deployment.yaml.")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
@click.option("--passphrase-file", metavar="FILE", help="Open the user's key with the first line of FILE.")
def command(name: str, release: str, environment: str | None, config: str | None, as_json: bool,
            passphrase_file: str | None) -> int:  # fmt: skip
    """Switch all hosts back to RELEASE, or to the one that was healthy before; nothing has to be sent.

    Hosts keep the release that they serve and the one before it.

    \b
    Examples:
      ampzero rollback kickass
      ampzero rollback kickass 3f2a9c --env production
    """
    from lib.commands.deploy import opened, show_outcome

    with opened(name, environment, config, passphrase_file) as work:
        with work.coordinator.fleet() as fleet:
            work.coordinator.connect(fleet)
            outcome = work.coordinator.rollback(fleet, release)
        return show_outcome(outcome, work, as_json=as_json)
