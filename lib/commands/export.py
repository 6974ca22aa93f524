"""`ampzero export KIND NAME`: an instance as units of systemd, programs of supervisord, or a Procfile."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("kind", type=click.Choice(("systemd", "supervisor", "procfile")))
@click.argument("name", default=".", metavar="[NAME]")
@click.option("-f", "--file", "file", type=click.Path(), help="The instance that this Procfile is.")
@click.option("--user", is_flag=True, help="For the service manager of a user: nothing that needs root.")
@click.option(
    "--output", metavar="DIR", help="Write into DIR (default: export/KIND in the instance's var folder)."
)
def command(kind: str, name: str, file: str | None, user: bool, output: str | None) -> None:
    """Write what another keeper needs to run the services of the instance NAME, and say what it cannot do.

    \b
    Examples:
      ampzero export systemd kickass --output /tmp/units
      ampzero export supervisor kickass
      ampzero export procfile kickass --output .
    """
    import lib.console as console
    from lib.commands.run import certify
    from lib.exporters import EXPORTERS
    from lib.exporters.target import make_target
    from lib.files import make_folder, write_atomic
    from lib.loader import open_instance

    instance = open_instance(name, file)
    folder = Path(output).resolve() if output else instance.var / "export" / kind
    target = make_target(instance, folder, certify, user=user)
    exported = EXPORTERS[kind](target)
    make_folder(folder, 0o700)
    for path, (text, mode) in exported.files.items():
        write_atomic(folder / path, text, mode)
        console.out(str(folder / path))
    for note in dict.fromkeys(exported.notes):
        console.say(f"{instance.config_file}: {note}")
    if target.plan.renewal and kind != "procfile":
        console.say(f"{instance.config_file}: this keeper renews no certificate: export again every month")
    if exported.hint:
        console.say(exported.hint)
