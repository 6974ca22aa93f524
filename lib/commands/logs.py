"""`ampzero logs`: what the services of an instance wrote. From the files, so it works when nothing runs."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lib.instance import Instance
    from lib.logs.merge import Selection
    from lib.logs.record import Record

DEFAULT_LINES = 100


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.argument("services", nargs=-1, metavar="[SERVICE|SERVICE.NUMBER]...")
@click.option("-f", "--follow", is_flag=True, help="Go on as more is written, until Ctrl-C.")
@click.option(
    "--env", "environment", metavar="ENVIRONMENT", help="The logs of the hosts of ENVIRONMENT instead."
)
@click.option("--config", type=click.Path(), help="With --env: another file in place of deployment.yaml.")
@click.option("--file", "procfile", type=click.Path(), help="The instance that this Procfile is.")
@click.option("--since", metavar="TIME", help="Only what is newer: 90s, 5m, 2h, 1d, or 2026-11-20T21:05.")
@click.option("--grep", "text", metavar="TEXT", help="Only lines that contain TEXT (plain, not a pattern).")
@click.option("-i", "--ignore-case", is_flag=True, help="Let --grep ignore the case of ASCII letters.")
@click.option("--stream", "streams", multiple=True, type=click.Choice(["out", "err", "sys"]),
              help="Only stdout, stderr, or the supervisor's own words; may be repeated.")  # fmt: skip
@click.option("-n", "--lines", type=click.IntRange(min=0), metavar="NUMBER",
              help=f"The last NUMBER lines (default {DEFAULT_LINES}; all with --since).")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="JSON, one object a line.")
def command(
    name: str, services: tuple[str, ...], follow: bool, since: str | None, text: str | None,
    ignore_case: bool, streams: tuple[str, ...], lines: int | None, as_json: bool, procfile: str | None,
    environment: str | None, config: str | None,
) -> int:  # fmt: skip
    """Show or follow what the services of the instance NAME wrote.

    The name `supervisor` stands for the supervisor's own log.

    \b
    Examples:
      ampzero logs kickass -f                      all services, and on as they write
      ampzero logs kickass web.2 -n 500 --grep timeout -i
      ampzero logs kickass --since 10m --stream err --json
      ampzero logs kickass --env production -f nginx   of all hosts, by time
    """
    if environment is not None:
        request = {"services": list(services), "streams": list(streams), "text": text or "",
                   "ignore_case": ignore_case, "since": since_stamp(since) if since else ""}  # fmt: skip
        wanted = lines if lines is not None else (None if since else DEFAULT_LINES)
        return _of_hosts(name, environment, config, request, wanted, follow=follow, as_json=as_json)
    if config is not None:
        raise click.UsageError("--config belongs to --env")
    from lib.logs.merge import Selection
    from lib.whereabouts import open_running_named

    instance, services = open_running_named("logs", name, services, procfile)
    names = known_services(instance, services)
    selection = Selection(
        since=since_stamp(since) if since else "", streams=frozenset(streams), names=frozenset(services),
        text=os.fsencode(text or ""), ignore_case=ignore_case,
    )  # fmt: skip
    wanted = lines if lines is not None else (None if since else DEFAULT_LINES)
    try:
        write(instance.logs, names, selection, wanted, follow, renderer(instance, names, as_json))
    except KeyboardInterrupt:
        # Ctrl-C is how following ends.
        return 0 if follow else 130
    except BrokenPipeError:
        # The reader of our output has enough; what is buffered for it must go somewhere at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _of_hosts(name: str, environment: str, config: str | None, request: dict[str, object], lines: int | None,
              *, follow: bool, as_json: bool) -> int:  # fmt: skip
    """Show the logs of an environment's hosts; 3 where some do not answer."""
    import json

    import lib.console as console
    from deploy.hostlogs import HostLogs, Line
    from lib.commands.deploy import PARTLY, opened
    from lib.logs.show import Text
    from lib.logs.show import as_json as described

    with opened(name, environment, config, None, signs=False) as work, work.coordinator.fleet() as fleet:
        fleet.connect()
        work.view.close()
        width = max(len(member.name) for member in fleet.members)
        text = Text(console.coloured(sys.stdout))

        def show(line: Line) -> None:
            if as_json:
                console.out(json.dumps({"host": line.host, **described(line.record)}, ensure_ascii=False))
            else:
                sys.stdout.buffer.write(f"{line.host:{width}} ".encode() + text(line.record))
                sys.stdout.buffer.flush()

        logs = HostLogs(fleet, request)
        try:
            for line in logs.follow(lines) if follow else logs.read(lines):
                show(line)
        except KeyboardInterrupt:
            return 0
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PARTLY if fleet.lost else 0


def write(logs: Path, names: list[str], selection: Selection, lines: int | None, follow: bool,
          render: Callable[[Record], bytes]) -> None:  # fmt: skip
    """Write the records that are wanted to stdout, flushed whenever there is nothing more for now."""
    from lib.logs import merge

    out = sys.stdout.buffer
    if not follow and lines is None:
        out.writelines(map(render, merge.read(logs, names, selection)))
        out.flush()
        return
    # So that a Ctrl-C between two records is not a traceback in the middle of a write.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with merge.Follower(logs, names, selection) as follower:
        out.writelines(map(render, follower.tail(sys.maxsize if lines is None else lines)))
        out.flush()
        if not follow:
            return
        reader_gone = select.poll()
        reader_gone.register(out.fileno(), 0)

        def pause(seconds: float) -> None:
            out.flush()
            if any(what & (select.POLLERR | select.POLLHUP) for _, what in reader_gone.poll(seconds * 1000)):
                raise BrokenPipeError

        for record in merge.follow(follower, pause):
            out.write(render(record))


def renderer(instance: Instance, names: Iterable[str], as_json: bool) -> Callable[[Record], bytes]:
    """What makes a line of a record: JSON, or text with colours where stdout shows them."""
    import lib.console as console
    from lib.logs.show import Text, json_line

    if as_json:
        return json_line
    colour = console.coloured(sys.stdout)
    longest = max((len(name) for name in (*(names or instance.config.services), "")), default=0)
    return Text(colour, width=longest + 2)


def known_services(instance: Instance, wanted: Iterable[str]) -> list[str]:
    """The services of `wanted` (which may name processes as `web.2`), without doubles.

    Raises: UsageError for one that neither is in amprun.yaml nor has a log.
    """
    from lib.errors import UsageError
    from lib.logs.segments import services
    from lib.yamlfile import did_you_mean

    known = list(dict.fromkeys([*instance.config.services, "supervisor", *services(instance.logs)]))
    names = []
    for word in wanted:
        service, dot, number = word.partition(".")
        if service not in known or (dot and not (number.isascii() and number.isdigit())):
            hint = (
                did_you_mean(service, known) if service not in known else "write a process as SERVICE.NUMBER"
            )
            raise UsageError(
                f"{instance.name} has no service {word!r}", hint or f"services: {', '.join(known)}"
            )
        names.append(service)
    return list(dict.fromkeys(names))


def since_stamp(since: str) -> str:
    """The time that `--since` means, as it stands in records.

    Raises: UsageError.
    """
    import time
    from datetime import datetime

    from lib import duration
    from lib.errors import ConfigError, UsageError
    from lib.logs.record import stamp

    try:
        return stamp(max(0.0, time.time() - duration.seconds(since)))
    except ConfigError:
        pass
    try:
        return stamp(datetime.fromisoformat(since).timestamp())
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"--since {since!r}: neither a duration nor a time", "as 90s, 5m, 2h, 1d, or 2026-11-20T21:05"
        ) from error
