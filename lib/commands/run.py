"""`ampzero run NAME`: start an instance and watch over it. A word after NAME is another command's name."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lib.certificates import Certificates
    from lib.files import Lock
    from lib.importers.base import Imported
    from lib.instance import Instance
    from lib.options import Options
    from lib.supervisor.launch import Report

ACTIONS = ("status", "stop", "quit", "start", "restart", "scale", "reload", "logs", "attach", "login")
"""`ampzero run NAME status` is `ampzero status NAME`, and so on."""

FAILED_LINES = 10
"""Lines of the service that failed which are shown."""


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name", default=".", metavar="[NAME]")
@click.argument("action", nargs=-1, type=click.UNPROCESSED, metavar="[ACTION [ARGUMENTS]...]")
@click.option("-f", "--file", "procfile", type=click.Path(), help="Run the services of a Procfile instead, "
              "or of a file of circus, supervisord, process-compose or docker-compose.")  # fmt: skip
@click.option("--format", "form", metavar="FORMAT", help="The format of FILE: procfile, circus, supervisord, "
              "process-compose or compose, where its name and content do not tell.")  # fmt: skip
@click.option("--only", metavar="SERVICE,...", help="Run only these services.")
@click.option("--no-daemon", is_flag=True, help="Stay in the foreground and print the output; Ctrl-C stops.")
@click.option("--debug", is_flag=True, help="Debug settings in all services; implies --no-daemon.")
@click.option("--server", is_flag=True, help="As on a server: redis, ampnode, nginx and your own commands "
              "only; listen on all addresses; implies --no-nat-bypass.")  # fmt: skip
@click.option("--no-hub", is_flag=True, help="Do not announce the instance at its hub.")
@click.option("-n", "--dry-run", is_flag=True, help="Check everything as a start would, also beside "
              "what runs, and print what would run; nothing is touched.")  # fmt: skip
@click.option("--as", "place", metavar="FOLDER", help="With --dry-run: as if NAME stood where FOLDER is "
              "already, as a release that is not live yet.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: what would run, as JSON.")
@click.option("--no-nat-bypass", is_flag=True, help="Do not look for a NAT device, nor map a port.")
def command(
    name: str, action: tuple[str, ...], procfile: str | None, form: str | None, only: str | None,
    no_daemon: bool, debug: bool, server: bool, no_hub: bool, no_nat_bypass: bool, dry_run: bool,
    place: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Start the instance NAME (default: the one in this folder); it is left running in the background.

    NAME is the name of an instance beside the checkout or in this folder, or a path. A second `run` attaches
    to the first. ACTION is one of: status, stop, quit, start, restart, scale, reload, logs, attach, login.

    \b
    Examples:
      ampzero run kickass                   every service up and ready
      ampzero run kickass status --json
      ampzero run kickass logs -f redis
      ampzero run kickass restart redis
      ampzero run kickass stop
      ampzero run -f Procfile --no-daemon   another project, without an instance
      ampzero run -f Procfile stop
      ampzero run -f compose.yaml           as well as circus.ini, supervisord.conf, process-compose.yaml
    """
    if name in ACTIONS and (procfile or not _is_instance(name)):
        name, action = ".", (name, *action)
    if action:
        given = [word for word, is_given in (("--dry-run", dry_run), ("--json", as_json)) if is_given]
        return _act(name, procfile, (*action, *given))
    if (place or as_json) and not dry_run:
        raise click.UsageError("--as and --json belong to --dry-run")
    from lib import starting
    from lib.loader import open_instance
    from lib.options import PASSPHRASE_VARIABLE, RELEASE_VARIABLE, Options

    passphrase_file = os.environ.get(PASSPHRASE_VARIABLE, "")
    instance = import_file(procfile, form)[1] if procfile else open_instance(name)
    options = Options(
        only=tuple(word.strip() for word in only.split(",") if word.strip()) if only else (),
        server=server, debug=debug, foreground=no_daemon or debug, hub=not no_hub,
        nat=not (no_nat_bypass or server), release=os.environ.get(RELEASE_VARIABLE, ""),
        passphrase_file=str(Path(passphrase_file).absolute()) if passphrase_file else "",
    )  # fmt: skip
    if dry_run:
        return _rehearse(instance, options, place, as_json=as_json)
    lock = starting.take_lock(instance)
    if lock is None:
        _succeed(instance)
        return _attach(instance)
    return _start(instance, options, lock)


def import_file(file: str, form: str | None) -> tuple[Imported, Instance]:
    """What another supervisor's file says, and its instance; what could not be carried over is said."""
    import lib.console as console
    from lib import importers
    from lib.importers.instance import instance_of

    imported = importers.read(Path(file).resolve(), form)
    for note in imported.notes:
        console.say(str(note))
    return imported, instance_of(imported)


def _act(name: str, procfile: str | None, action: tuple[str, ...]) -> int:
    if action[0] not in ACTIONS:
        raise click.UsageError(f"no such action: {action[0]!r}; there are: {', '.join(ACTIONS)}")
    module = __import__(f"lib.commands.{action[0]}", fromlist=["command"])
    other: click.Command = module.command
    words = [*(["--file", procfile] if procfile else [name]), *action[1:]]
    result = other.main(args=words, prog_name=f"ampzero {action[0]}", standalone_mode=False)
    return result if isinstance(result, int) else 0


def _is_instance(name: str) -> bool:
    from lib.instance import CONFIG_NAME, candidates

    return any((place / CONFIG_NAME).is_file() for place in candidates(name))


def _rehearse(instance: Instance, options: Options, place: str | None, *, as_json: bool) -> int:
    """Print what a start would run, once all of it is checked."""
    import json

    import lib.console as console
    from lib.instance import located, make_instance
    from lib.rehearsal import rehearse

    live = instance
    if place is not None:
        folder = located(Path(place))
        live = make_instance(folder, folder / instance.config_file.name, instance.config)
    plan = rehearse(instance, options, certify, live)
    if as_json:
        fields = ("name", "argv", "cwd", "ports", "listen")
        services = [
            {"name": service.name, "kind": service.kind,
             "processes": [{field: getattr(each, field) for field in fields} for each in service.processes]}
            for service in plan.services
        ]  # fmt: skip
        about = {"name": plan.name, "directory": plan.directory, "var": plan.var, "release": options.release}
        console.out(json.dumps({**about, "services": services}))
        return 0
    for service in plan.services:
        for each in service.processes:
            ports = f" (port {', '.join(map(str, each.ports))})" if each.ports else ""
            console.out(f"{each.name}{ports}: {shlex.join(each.argv)}")
    console.say(f"{plan.name} could run so: nothing was changed")
    return 0


def _succeed(instance: Instance) -> None:
    """Where the supervisor is of another version of ampzero, one of this version takes its place."""
    import lib.console as console
    from lib import reloading, running, succession

    if succession.is_due(running.plan(instance)):
        lock = reloading.begin(instance)
        try:
            succession.succeed(instance, lambda report: None)
        finally:
            lock.release()
        console.say(f"a supervisor of this version of ampzero has taken over {instance.name}")


def _attach(instance: Instance) -> int:
    import lib.console as console
    from lib.commands import attach

    console.say(f"{instance.name} is running already")
    return attach.attach(instance, follow=sys.stdin.isatty() and sys.stdout.isatty())


def _start(instance: Instance, options: Options, lock: Lock) -> int:
    import lib.console as console
    from lib import leftovers, starting
    from lib.addressing import typed
    from lib.errors import NotReadyError
    from lib.kinds import kind_of
    from lib.supervisor import journal

    adopting = instance.config.on_crash == "adopt" and journal.replay(instance.state / "journal")
    if not adopting and (ended := leftovers.end(instance)):
        console.warn(f"the supervisor of an earlier run had died; ended {ended} processes that it left")
    try:
        starting.start(instance, options, lock, certify, _tell)
    except NotReadyError as error:
        _show_last_lines(instance, error.service)
        error.hint = f"ampzero logs {typed(instance, '--file')} {error.service}".rstrip()
        raise
    console.out(f"{instance.name} is ready")
    kinds = {kind_of(name, config) for name, config in instance.config.services.items()}
    if {"nginx", "ampnode"} <= kinds and not options.only:
        from lib.login import make_link

        console.out(f"  sign in   {make_link(instance)}")
    console.out(f"  status    ampzero status {typed(instance)}")
    console.out(f"  stop      ampzero stop {typed(instance)}")
    return 0


def _tell(report: Report) -> None:
    import lib.console as console

    if report.state in ("ready", "completed"):
        console.say(f"  {report.service} {report.state}")
    elif report.state in ("backoff", "failed", "gave-up"):
        console.say(f"  {report.service} {report.state}: {report.reason}")


def _show_last_lines(instance: Instance, service: str) -> None:
    import lib.console as console
    from lib.logs.merge import Follower, Selection
    from lib.logs.show import Text

    if not service:
        return
    with Follower(instance.logs, [service], Selection()) as follower:
        lines = follower.tail(FAILED_LINES)
    console.say(f"the last lines of {service}:")
    render = Text(colour=False)
    for record in lines:
        console.say("  " + render(record).decode(errors="replace").rstrip("\n"))


def certify(instance: Instance) -> Certificates:
    """The TLS files of this run."""
    from keys.tls.certifying import certify

    return certify(instance)
