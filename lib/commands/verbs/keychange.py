"""`ampzero keys rotate`, `revoke`, `recover`, `recovery`: keys changed at their hub and on the disk."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lib.commands.verbs.keyring import NAME, PASSPHRASES, folder_of, open_ring

if TYPE_CHECKING:
    from keys.keyfile import PrivateKey
    from keys.lifecycle.changing import Outcome
    from keys.lifecycle.keyring import Keyring

WHO = click.argument("who", type=click.Choice(("user", "host")))


@click.command()
@NAME
@WHO
@click.option("--control", is_flag=True, help="A new control key as well.")
@PASSPHRASES
def rotate(name: str, who: str, control: bool, files: tuple[str, ...]) -> int:
    """Give the user or the host of NAME a new signing key; a revoked one signs again by it.

    \b
    Examples:
      ampzero keys rotate kickass host
      ampzero keys rotate kickass user --control
    """
    from keys.lifecycle import drafts

    typed = f"rotate {who}{' --control' if control else ''}"
    return _change(name, files, typed, lambda _: drafts.rotate(who, control=control))


@click.command()
@NAME
@WHO
@click.option("--yes", is_flag=True, help="Do not ask.")
@PASSPHRASES
def revoke(name: str, who: str, yes: bool, files: tuple[str, ...]) -> int:
    """Say at the hub that no key signs for the user or the host of NAME, until the next rotate."""
    from keys.lifecycle import drafts

    if not yes and sys.stdin.isatty():
        click.confirm(f"Revoke the signing key of the {who}?", abort=True, err=True)
    return _change(name, files, f"revoke {who}", lambda _: drafts.revoke(who))


@click.command()
@NAME
@WHO
@click.option("--key", metavar="FILE", help="The control key that ranks higher; for a host: its user's.")
@PASSPHRASES
def recover(name: str, who: str, key: str | None, files: tuple[str, ...]) -> int:
    """Replace the stolen or lost keys of the user or the host of NAME, whatever a thief has changed.

    A host is recovered by its user's control key, a user by its recovery key (`ampzero keys recovery`).

    \b
    Examples:
      ampzero keys recover kickass host
      ampzero keys recover kickass user --key /media/stick/recovery.key
    """
    from keys.lifecycle import drafts
    from lib.errors import UsageError

    if who == "user" and key is None:
        raise UsageError("a user is recovered by its recovery key", "--key FILE")

    def planner(ring: Keyring) -> Any:
        higher = ring.open(Path(key)) if key else ring.need("user", "control")
        return drafts.recover(who, higher)

    return _change(name, files, f"recover {who}", planner, follow=True)


@click.command()
@NAME
@click.argument("file", metavar="FILE")
@PASSPHRASES
def recovery(name: str, file: str, files: tuple[str, ...]) -> int:
    """Put the key in FILE above the user's control key of NAME; it is made where FILE is not there.

    Keep FILE where this machine is not: it takes everything back from whoever stole the other keys.
    """
    import lib.console as console
    from keys.lifecycle import drafts

    def planner(ring: Keyring) -> Any:
        return drafts.add_recovery(_made(Path(file), ring))

    code = _change(name, files, f"recovery {file}", planner)
    console.say(f"keep {file} and its passphrase offline, not on this machine")
    return code


def _made(path: Path, ring: Keyring) -> PrivateKey:
    """The recovery key in `path`, made where there is none; a try that was interrupted left it there."""
    from keys import keyfile
    from keys.keyfile import PrivateKey

    if not path.exists():
        keyfile.save(path, PrivateKey.generate(), ring.chosen())
    return ring.open(path)


def _change(
    name: str, files: tuple[str, ...], typed: str, planner: Callable[[Keyring], Any], *, follow: bool = False
) -> int:
    """Carry a change out, or complete one that was interrupted, and say what came of it."""
    from keys.hubs import open_hub
    from keys.lifecycle.changing import Changing

    folder = folder_of(name)
    ring = open_ring(folder, files)
    changing = Changing(folder, open_hub(folder), ring)
    outcome = changing.completed(typed) or changing.carry_out(typed, planner(ring), follow=follow)
    _report(name, typed, outcome)
    return 0


def _report(name: str, typed: str, outcome: Outcome) -> None:
    import lib.console as console

    if outcome.completed:
        console.say(f"completed first what was interrupted: {outcome.completed}")
    if outcome.resumed:
        console.say("it was interrupted before, and is complete now")
    for said in (outcome.identities.user, outcome.identities.host):
        if said.id in outcome.changed:
            key = said.signing.fingerprint if said.signing else "none: it is revoked"
            console.out(f"{said.id}: operation {said.seq} at {said.hub}, signing key {key}")
    for path in outcome.archived:
        console.say(f"the old key is in {path}")
    for warning in outcome.warnings:
        console.warn(warning)
    console.say("next: commit ampnode/, and back its secret keys up again")
    if "user" in typed.split() and outcome.identities.user.signing:
        console.say(f"next: ampzero deploy {name} --setup, where hosts are to take releases of the new key")
