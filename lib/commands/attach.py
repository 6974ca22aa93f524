"""`ampzero attach NAME`: a full-screen view of a running instance, or its plain following."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lib.instance import Instance

LINES = 20
"""Earlier lines that the plain view shows first."""


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.option("-f", "--file", "procfile", type=click.Path(), help="The instance that this Procfile is.")
@click.option("--plain", is_flag=True, help="No full screen: print the status, then follow the output.")
def command(name: str, procfile: str | None, plain: bool) -> int:
    """Watch the running instance NAME: its services, their logs, why one is down; act on them by a key.

    q or Ctrl-C detaches and leaves everything running; Q stops everything, after a question; ? lists the
    keys. Without a terminal, or with --plain, the status is printed and then all output followed.

    \b
    Examples:
      ampzero attach                    the instance in this folder
      ampzero attach kickass
      ampzero attach kickass --plain    lines that scroll by; Ctrl-C detaches
      ampzero attach -f Procfile
    """
    from lib.whereabouts import open_running

    return attach(open_running(name, procfile), follow=True, plain=plain)


def attach(instance: Instance, *, follow: bool, plain: bool = False) -> int:
    """Show the instance on the full screen where that can be; else plainly. `follow`: go on until Ctrl-C."""
    from lib import running

    status = running.status(instance)
    if not follow or plain or not _has_screen():
        return _plain(instance, status, follow=follow)
    import sys

    import lib.console as console

    try:
        from lib.view.app import STOP, View
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] not in ("textual", "rich"):
            raise
        console.say(f"the full-screen view needs Textual: {sys.executable} -m pip install 'ampzero[view]'")
        return _plain(instance, status, follow=True)
    _measure_the_terminal()
    view = View(instance)
    if view.run() == STOP:
        console.say(f"stopping {instance.name} …")
        running.shut_down(instance)
        console.out(f"{instance.name} is stopped: no process and no port is left")
        return 0
    if view.return_code:
        return view.return_code
    if running.is_running(instance):
        console.say(f"detached; {instance.name} runs on")
    else:
        console.say(f"detached; {instance.name} is not running any more")
    return 0


def _measure_the_terminal() -> None:
    """Ask the terminal for its size: Textual would believe these two, and they follow no resize."""
    import os

    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)


def _has_screen() -> bool:
    """Whether a full screen can be drawn: both ends are a terminal that can place its cursor."""
    import os
    import sys

    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _plain(instance: Instance, status: dict[str, object], *, follow: bool) -> int:
    import lib.console as console
    from lib.commands import logs
    from lib.logs.merge import Selection
    from lib.statusview import lines

    for line in lines(status):
        console.out(line)
    if not follow:
        return 0
    console.say("(following; Ctrl-C detaches and leaves it running)")
    try:
        logs.write(instance.logs, [], Selection(), LINES, True, logs.renderer(instance, [], False))
    except KeyboardInterrupt:
        console.say(f"\ndetached; {instance.name} runs on")
    return 0
