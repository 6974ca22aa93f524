"""`ampzero reload NAME`: change a running instance into what its files say now."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.option("-f", "--file", "procfile", type=click.Path(), help="The instance that this Procfile is.")
@click.option("-n", "--dry-run", is_flag=True, help="Only print what would change.")
@click.option(
    "--json", "as_json", is_flag=True, help="The changes as a JSON array of {action, service, why}."
)
def command(name: str, procfile: str | None, dry_run: bool, as_json: bool) -> None:
    """Apply what changed in the files of the running instance NAME, and only that.

    The whole is checked before anything is touched: a wrong file changes nothing. Processes are replaced one
    after the other; one that does not become ready leaves the old one in place.

    \b
    Examples:
      ampzero reload kickass --dry-run
      ampzero reload kickass
    """
    import lib.console as console
    from lib.commands.run import certify
    from lib.loader import open_instance
    from lib.reloading import Reload

    reload = Reload(open_instance(name, procfile), certify)
    if as_json:
        import msgspec

        console.out(msgspec.json.encode(reload.changes).decode())
    else:
        for change in reload.changes:
            console.out(str(change))
        if not reload.changes:
            console.out("nothing changed")
        if reload.left_out:
            console.say(f"left out, for the run was begun with --only: {', '.join(reload.left_out)}")
    if not dry_run and any(change.action != "postpone" for change in reload.changes):
        reload.carry_out()
        if not as_json:
            console.out("done")
