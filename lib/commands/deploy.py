"""`ampzero deploy NAME`: ship a release to the hosts of an environment and switch them over together."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import lib.console as console

if TYPE_CHECKING:
    from deploy.coordinator import Coordinator
    from deploy.deploying import Outcome
    from deploy.environment import Environment
    from deploy.fleet import Fleet
    from deploy.plan import Plan
    from deploy.session import Signer
    from lib.deployview import PlainView
    from lib.instance import Instance

PARTLY = 3
"""Exit code: some hosts serve the release and others do not."""


@click.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.option(
    "--env", "environment", metavar="ENVIRONMENT", help="Which hosts; not needed where there is one."
)
@click.option("--host", "hosts", multiple=True, metavar="HOST", help="Only this host; may be given again.")
@click.option("--config", type=click.Path(), help="Another file in place of deployment.yaml.")
@click.option(
    "-n", "--dry-run", is_flag=True, help="Ask the hosts, print what would be done, change nothing."
)
@click.option("--resume", is_flag=True, help="Finish, or give up, a deploy that was interrupted.")
@click.option("--only-failed", is_flag=True, help="Bring the hosts that failed to the newest release.")
@click.option("--setup", is_flag=True, help="Prepare hosts for their first deploy (as root, or by sudo).")
@click.option(
    "--ssh-ca", is_flag=True, help="With --setup: let sshd there take certificates of the user's key."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="The plan, or the result, as one JSON object.")
@click.option("--passphrase-file", metavar="FILE", help="Open the user's key with the first line of FILE.")
def command(
    name: str, environment: str | None, hosts: tuple[str, ...], config: str | None, dry_run: bool,
    resume: bool, only_failed: bool, setup: bool, ssh_ca: bool, yes: bool, as_json: bool,
    passphrase_file: str | None,
) -> int:  # fmt: skip
    """Ship what is committed of the instance NAME to its hosts, and switch them over together.

    Only what differs travels. Users see nothing until every host is ready; a host that fails keeps, or gets
    back, the release that it had. Exit codes: 0 done, 3 some hosts failed (they are named), others as in
    docs/exit-codes.md: nothing was switched.

    \b
    Examples:
      ampzero deploy kickass --setup            the first time
      ampzero deploy kickass --dry-run
      ampzero deploy kickass --env production
      ampzero deploy kickass --resume           after an interruption
      ampzero deploy kickass --only-failed
    """
    if sum((resume, only_failed, setup)) > 1:
        raise click.UsageError("--resume, --only-failed and --setup exclude each other")
    if ssh_ca and not setup:
        raise click.UsageError("--ssh-ca belongs to --setup")
    with opened(name, environment, config, passphrase_file, as_root=setup) as work:
        if setup:
            return _set_up(work, hosts, yes=yes, as_json=as_json, ssh_ca=ssh_ca)
        if resume or only_failed:
            return _again(work, resume=resume, as_json=as_json)
        return _deploy(work, hosts, dry_run=dry_run, yes=yes, as_json=as_json)


@dataclass(frozen=True)
class Work:
    """What the commands about hosts share."""

    instance: Instance
    environment: Environment
    coordinator: Coordinator
    signer: Signer
    view: PlainView
    typed: str


@contextmanager
def opened(
    name: str, environment: str | None, config: str | None, passphrase_file: str | None, *,
    as_root: bool = False, signs: bool = True,
) -> Iterator[Work]:  # fmt: skip
    """The instance NAME with its environment, nothing connected yet; the view is closed afterwards.

    Where it `signs`, the user's key is read first: nobody is asked for a passphrase in the midst of a deploy.
    """
    from deploy.environment import load_environment
    from deploy.session import Signer, cache_folder, open_coordinator
    from keys.datafolder import cache_base, data_folder
    from lib.addressing import typed
    from lib.deployview import make_view
    from lib.errors import MissingError
    from lib.loader import load_instance

    instance = load_instance(name)
    chosen = load_environment(instance.directory, environment, Path(config) if config else None)
    if not chosen.hosts:
        raise MissingError(f"{chosen.file}: {chosen.name} has no hosts", "write them under hosts:")
    signer = Signer(instance, lambda path: _passphrase(path, passphrase_file))
    if signs or chosen.ssh.certificate:
        signer.read()
    view = make_view()
    coordinator = open_coordinator(
        instance, chosen, signer=signer, progress=view, typed=typed(instance),
        folder=cache_folder(instance, cache_base()), data=data_folder(), as_root=as_root,
    )  # fmt: skip
    view.open()
    try:
        yield Work(instance, chosen, coordinator, signer, view, f"{typed(instance)} --env {chosen.name}")
    finally:
        view.close()


def _passphrase(key: Path, file: str | None) -> str:
    from keys.reading import read_passphrase
    from lib.errors import UsageError

    if file is not None:
        return read_passphrase(file)
    if not sys.stdin.isatty():
        raise UsageError(f"{key} is encrypted", "--passphrase-file FILE opens it where nobody can be asked")
    return str(click.prompt(f"passphrase of {key.name}", hide_input=True, err=True))


def _deploy(work: Work, hosts: tuple[str, ...], *, dry_run: bool, yes: bool, as_json: bool) -> int:
    from deploy.hooks import run_hook

    coordinator = work.coordinator
    with coordinator.fleet() as fleet:
        if not dry_run:
            run_hook("pre_deploy", work.instance, work.environment, work.view)
        coordinator.connect(fleet)
        built = coordinator.build(fleet)
        plan = coordinator.plan(fleet, built, hosts)
        if plan.is_nothing and not dry_run:
            return _nothing(plan, work, as_json=as_json)
        sizes = {name: {kind: blob.size for kind, blob in found.items()}
                 for name, found in coordinator.blobs(plan).items()}  # fmt: skip
        work.view.close()
        if dry_run or not as_json:
            _show_plan(plan, sizes, fleet, as_json=as_json)
        if dry_run:
            return 0
        if not yes and sys.stdin.isatty() and not click.confirm("Deploy?", default=True, err=True):
            console.say("nothing was changed")
            return 1
        work.view.open()
        outcome = coordinator.deploy(fleet, built, plan)
    code = show_outcome(outcome, work, as_json=as_json)
    if code in (0, PARTLY):
        run_hook("post_deploy", work.instance, work.environment, work.view, release=outcome.release)
    return code


def _nothing(plan: Plan, work: Work, *, as_json: bool) -> int:
    work.view.close()
    if as_json:
        told = {"release": plan.release, "outcome": "nothing to deploy", "left_out": plan.left_out}
        console.out(json.dumps(told))
    else:
        but = f", but for {', '.join(plan.left_out)}" if plan.left_out else ""
        console.out(f"nothing to deploy: {work.environment.name} serves {plan.release} already{but}")
    return PARTLY if plan.left_out else 0


def _again(work: Work, *, resume: bool, as_json: bool) -> int:
    from deploy.plan import majority

    with work.coordinator.fleet() as fleet:
        # What was begun may be ended without the hosts that died meanwhile.
        work.coordinator.connect(fleet, majority(len(fleet.members)))
        outcome = work.coordinator.resume(fleet) if resume else work.coordinator.only_failed(fleet)
    work.view.close()
    if outcome is None:
        text = "no deploy is pending" if resume else "every host serves the newest release"
        console.out(json.dumps({"outcome": text}) if as_json else text)
        return 0
    if resume and not outcome.serving and not outcome.failed:
        console.out(json.dumps(_described(outcome)) if as_json else f"{outcome.release} was {outcome.reason}")
        return 0
    return show_outcome(outcome, work, as_json=as_json)


def _set_up(work: Work, hosts: tuple[str, ...], *, yes: bool, as_json: bool, ssh_ca: bool) -> int:
    from deploy.setup import set_up

    with work.coordinator.fleet() as fleet:
        ca = str(work.signer.key.public) if ssh_ca else ""
        done = set_up(fleet, work.instance, work.environment, work.signer.allowed(), hosts, work.view, ca)
    work.view.close()
    failed = {member.name: member.error for member in fleet.members if member.error}
    if as_json:
        console.out(json.dumps({"done": done, "failed": {n: e.message for n, e in failed.items() if e}}))
    else:
        for name, texts in done.items():
            console.out(f"{name}: {'; '.join(texts) if texts else 'all is there'}")
    for error in failed.values():
        if error:
            console.error(error.message, error.hint)
    if not failed:
        if not as_json:
            console.out(f"next: ampzero deploy {work.typed}")
        return 0
    return PARTLY if done else next(error.exit_code for error in failed.values() if error)


def _show_plan(plan: Plan, sizes: dict[str, dict[str, int]], fleet: Fleet, *, as_json: bool) -> None:
    if as_json:
        console.out(json.dumps(_plan_described(plan, sizes)))
        return
    how = "without a pause" if plan.compatible else "behind the placeholder page"
    console.out(f"release {plan.release} (commit {plan.commit[:12]}), switched {how}")
    width = max(len(host.name) for host in plan.hosts)
    for number, wave in enumerate(plan.waves, 1):
        if len(plan.waves) > 1:
            console.out(f"wave {number}:")
        for name in wave:
            host = plan.host(name)
            sent = sum(sizes[name].values())
            what = "nothing to send" if not sent else f"{human(sent)} to send"
            what += ", and settings of its own" if host.told else ""
            console.out(f"  {name:{width}}  {host.before or 'nothing yet':>12} -> {plan.release}  {what}")
    for member in fleet.lost:
        console.out(f"  {member.name:{width}}  left out: {member.error.message if member.error else ''}")


def show_outcome(outcome: Outcome, work: Work, *, as_json: bool) -> int:
    """Print what became of a deploy; the exit code."""
    work.view.close()
    if as_json:
        console.out(json.dumps(_described(outcome)))
    elif outcome.serving and not outcome.rolled_back_to:
        console.out(f"{len(outcome.serving)} of {len(outcome.serving) + len(outcome.failed)} hosts of "
                    f"{work.environment.name} serve {outcome.release}")  # fmt: skip
    for error in outcome.failed.values():
        console.error(error.message, error.hint)
    if outcome.rolled_back_to:
        console.error(f"{outcome.release} was rolled back to {outcome.rolled_back_to}: {outcome.reason}",
                      f"ampzero logs {work.typed}")  # fmt: skip
        return 1
    if outcome.failed:
        console.say(f"hint: ampzero deploy {work.typed} {'--only-failed' if outcome.serving else '--resume'}")
        return PARTLY if outcome.serving else 1
    return 0


def _plan_described(plan: Plan, sizes: dict[str, dict[str, int]]) -> dict[str, Any]:
    hosts = {
        host.name: {
            "platform": host.platform, "before": host.before, "up_to_date": host.up_to_date,
            "told": host.told,
            "bytes": sizes[host.name],
        }
        for host in plan.hosts
    }  # fmt: skip
    return {
        "release": plan.release, "sequence": plan.sequence, "commit": plan.commit,
        "compatible": plan.compatible, "waves": plan.waves, "min_ready": plan.min_ready, "hosts": hosts,
        "left_out": plan.left_out,
    }  # fmt: skip


def _described(outcome: Outcome) -> dict[str, Any]:
    return {
        "release": outcome.release, "sequence": outcome.sequence, "commit": outcome.commit,
        "outcome": outcome.word, "serving": outcome.serving,
        "failed": {name: error.message for name, error in outcome.failed.items()},
        "reason": outcome.reason, "rolled_back_to": outcome.rolled_back_to,
    }  # fmt: skip


def human(size: int) -> str:
    """Bytes as people read them."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
