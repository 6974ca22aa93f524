"""`ampzero trust`: whether this machine trusts the certificates of its local CA, and renewing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from keys.tls.truststores import Anchor, Store

PARTLY_DONE = 3


@click.group(invoke_without_command=True)
@click.option("--install", "install", is_flag=True, help="Have this system and its browsers trust the CA.")
@click.option("--uninstall", "uninstall", is_flag=True, help="Have them trust it no longer.")
@click.option("--print", "show", is_flag=True, help="Print the CA's certificate (PEM) and its fingerprint.")
@click.option("--yes", "-y", is_flag=True, help="Do it without asking.")
@click.pass_context
def command(context: click.Context, install: bool, uninstall: bool, show: bool, yes: bool) -> int:
    """The local CA, which signs the certificates of your instances for localhost: who here trusts it.

    Nothing is ever trusted silently: what would be done is said first, and asked. The CA cannot sign for any
    name but localhost, ampzero.internal and this machine's own addresses.

    \b
    Examples:
      ampzero trust                         who trusts it now
      ampzero trust --install               the system's store, Firefox and Chromium
      ampzero trust --uninstall
      ampzero trust --print > ca.pem
      ampzero trust renew kickass           a new certificate, with the same key
    """
    if context.invoked_subcommand is not None:
        return 0
    if install + uninstall + show > 1:
        raise click.UsageError("--install, --uninstall and --print are three things to do")
    if show:
        return _print()
    return _change(install, yes) if install or uninstall else _list()


def _stores(anchor: Anchor) -> tuple[list[Store], list[str]]:
    """The stores here, and the browsers that cannot be reached without certutil."""
    from pathlib import Path

    from keys.tls.truststores import stores, without_certutil

    home = Path.home()
    return stores(anchor, home), without_certutil(home)


def _print() -> int:
    import lib.console as console
    from keys.tls.localca import described

    about = described()
    console.out(about.pem.rstrip("\n"))
    console.say(f"{about.anchor.name}, until {about.expires:%Y-%m-%d}: {about.anchor.file}")
    console.say(f"SHA-256 {about.fingerprint}")
    console.say(f"signs for {', '.join(about.signs_for)} and nothing else")
    return 0


def _list() -> int:
    import lib.console as console
    from keys.tls.localca import described

    anchor = described().anchor
    found, without = _stores(anchor)
    console.out(f"{anchor.name} ({anchor.file})")
    for store in found:
        console.out(f"{'trusted' if store.has() else 'not trusted'} by {store.name}")
    _say_without(without)
    return 0


def _change(install: bool, yes: bool) -> int:
    import lib.console as console
    from keys.tls.localca import described
    from lib.errors import AmpzeroError

    found, without = _stores(described().anchor)
    todo = [
        (store, (*store.make, *store.install) if install else store.uninstall)
        for store in found
        if store.has() != install
    ]
    _say_without(without)
    if not todo:
        console.out("nothing to do: " + ("all of them trust it" if install else "none of them trusts it"))
        return 0
    for store, commands in todo:
        console.say(f"{store.name} {'would trust it' if install else 'would trust it no longer'}:")
        for line in store.words(commands):
            console.say(f"    {line}")
    if not yes and not click.confirm("do this?", default=False, err=True):
        console.say("nothing was changed")
        return 1
    failures = 0
    for store, commands in todo:
        try:
            store.change(commands)
            console.out(f"{'trusted' if install else 'no longer trusted'} by {store.name}")
        except AmpzeroError as error:
            failures += 1
            console.error(error.message, error.hint)
    if install and failures < len(todo):
        console.say("a browser that is open takes it up at its next start")
    return 0 if not failures else 1 if failures == len(todo) else PARTLY_DONE


def _say_without(browsers: list[str]) -> None:
    import lib.console as console

    for words in browsers:
        console.warn(f"{words}: its store cannot be changed without certutil",
                     "apt install libnss3-tools, dnf install nss-tools, brew install nss")  # fmt: skip


@command.command()
@click.argument("name", default=".", metavar="[NAME]")
@click.option("-f", "--file", "file", type=click.Path(), help="The instance that this Procfile is.")
@click.option("--if-due", is_flag=True, help="Only what is due; the instance does this itself.")
@click.option("--new-key", is_flag=True, help="With another key, so that its pin is another one, too.")
@click.option(
    "--passphrase-file", metavar="FILE", help="The passphrase of the host's key is FILE's first line."
)
def renew(name: str, file: str | None, if_due: bool, new_key: bool, passphrase_file: str | None) -> None:
    """Renew the certificate of the instance NAME; its key, and so the pin of it, stays.

    A running instance does so itself when a third of the time is left. No request is dropped, and where the
    new one cannot be had, or nginx refuses it, the old one stays.

    \b
    Examples:
      ampzero trust renew kickass
      ampzero trust renew kickass --new-key
    """
    import lib.console as console
    from keys.reading import read_passphrase
    from keys.tls.certifying import renew
    from lib.loader import open_instance
    from lib.recertifying import take_up
    from lib.running import is_running

    if if_due and new_key:
        raise click.UsageError("a new key is not something that is due")
    instance = open_instance(name, file)
    passphrase = read_passphrase(passphrase_file)
    certificates = renew(instance, anew=not if_due, new_key=new_key, passphrase=passphrase)
    shown = is_running(instance) and take_up(instance, certificates)
    if shown or not if_due:
        console.out(f"certificate: {certificates.certificate}")
