"""`ampzero quit NAME`: end an instance at once."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option("-f", "--file", "procfile", type=click.Path(), help="The instance that this Procfile is.")
def command(name: str, services: tuple[str, ...], procfile: str | None) -> None:
    """End the instance NAME, or only SERVICE…, at once: SIGKILL to every process of it.

    \b
    Examples:
      ampzero quit kickass            at once, without a goodbye
      ampzero quit kickass web.2
    """
    end(name, services, procfile, at_once=True)


def end(name: str, services: tuple[str, ...], procfile: str | None, *, at_once: bool) -> None:
    """Stop or quit what was named, and say so."""
    import lib.console as console
    from lib import running
    from lib.errors import LeftoverError
    from lib.whereabouts import open_running_named

    instance, services = open_running_named("quit" if at_once else "stop", name, services, procfile)
    if services:
        mode = "quit" if at_once else "stop"
        answer = running.connect(instance).call(
            "stop", running.START_TIME, services=list(services), mode=mode
        )
        if answer["survivors"]:
            raise LeftoverError(f"these are left: {', '.join(answer['survivors'])}", "end them by hand")
        console.out(f"{', '.join(services)} stopped")
        return
    ended = running.shut_down(instance, at_once=at_once)
    if ended:
        console.warn(f"the supervisor of {instance.name} had died; ended {ended} processes that it left")
    console.out(f"{instance.name} is stopped: no process and no port is left")
