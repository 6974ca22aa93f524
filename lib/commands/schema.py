"""`ampzero schema`: prints the JSON Schema of a configuration file."""

from __future__ import annotations

import click

from lib import console


@click.command()
@click.argument("file", metavar="FILE", default="amprun")
def command(file: str) -> None:
    """Print the JSON Schema of FILE: amprun (the default) or ampnode.

    \b
    Examples:
      ampzero schema > amprun.schema.json
      ampzero schema ampnode
    """
    from lib import schema

    console.out(schema.text(file).rstrip("\n"))
