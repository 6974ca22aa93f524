"""`ampzero serve KIND --socket PATH`: one of the instance's Python applications, by hand."""

from __future__ import annotations

from pathlib import Path

import click

from lib.application import KINDS, run


@click.command(hidden=True)
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--socket", required=True, type=click.Path(path_type=Path), help="The unix socket to serve at.")
def command(kind: str, socket: Path) -> None:
    """Serve the application KIND of the instance in the current folder."""
    run(kind, socket)
