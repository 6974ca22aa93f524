"""`ampzero keys VERB NAME`: an instance's keys looked at, changed, verified, and used as SSH's authority."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from keys.identities import Identities
    from keys.keyfile import PrivateKey
    from keys.lifecycle.changing import Outcome
    from keys.lifecycle.keyring import Keyring

WHO = click.argument("who", type=click.Choice(("user", "host")))
NAME = click.argument("name", metavar="NAME")
PASSPHRASES = click.option("--passphrase-file", "files", multiple=True, metavar="FILE",
                           help="Open keys with the first line of FILE; may be given again.")  # fmt: skip
JSON = click.option("--json", "as_json", is_flag=True, help="As a JSON object.")


@click.group()
def command() -> None:
    """The keys of an instance: list, rotate, revoke, recover, verify them; certificates for SSH.

    NAME is an instance, or its folder. Keys are changed at their hub and on the disk together; where that is
    interrupted, the same command completes it.

    \b
    Examples:
      ampzero keys verify kickass
      ampzero keys rotate kickass host
      ampzero keys recovery kickass /media/stick/recovery.key
      ampzero keys ssh-cert kickass
    """


@command.command("list")
@click.argument("name", default=".", metavar="[NAME]")
@JSON
def list_(name: str, as_json: bool) -> int:
    """Every key file of NAME: whose, fingerprint, mode, with a passphrase or not."""
    import json

    import lib.console as console
    from keys.lifecycle.listing import listing

    found = listing(_loaded(_folder(name)))
    if as_json:
        console.out(json.dumps([row.described() for row in found], indent=2))
        return 0
    width = max(len(row.name) for row in found)
    for row in found:
        console.out(f"{row.name:{width}}  {row.mode or 'none'}  {row.fingerprint:50}  {row.what}".rstrip())
    return 0


@command.command()
@NAME
@click.argument("who", type=click.Choice(("user", "host")), required=False)
@JSON
def show(name: str, who: str | None, as_json: bool) -> int:
    """What the hub says of the user and the host of NAME, or of one of them."""
    import json

    import lib.console as console
    from keys.lifecycle.listing import described

    found = _loaded(_folder(name))
    said = {"user": found.user, "host": found.host}
    chosen = {kind: described(each) for kind, each in said.items() if who in (None, kind)}
    if as_json:
        console.out(json.dumps(chosen, indent=2))
        return 0
    for fields in chosen.values():
        for label, value in fields.items():
            for each in value if isinstance(value, list) else [value]:
                console.out(f"{label:8} {each}")
    return 0


@command.command()
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


@command.command()
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


@command.command()
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


@command.command()
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


@command.command()
@NAME
@click.option("-o", "--output", metavar="FILE", help="Default: NAME.identity.json here; - is the output.")
def export(name: str, output: str | None) -> int:
    """Write what is public of NAME's identity into one file, which `keys verify` believes without a hub."""
    import lib.console as console
    from keys.lifecycle import bundle
    from keys.lifecycle.hubside import complete_chains

    folder = _folder(name)
    found = _loaded(folder)
    hub = _hub(folder)
    complete_chains(folder, found, hub)
    raw = bundle.encode(bundle.from_hub(hub, folder, found))
    if output == "-":
        console.out(raw.decode().rstrip())
        return 0
    path = Path(output or f"{folder.parent.name}.identity.json")
    _write(path, raw)
    console.out(str(path))
    return 0


@command.command()
@click.argument("name", default=".", metavar="[NAME|FILE]")
@click.option("--online", is_flag=True, help="Ask the hub as well whether there is anything newer.")
@JSON
def verify(name: str, online: bool, as_json: bool) -> int:
    """Check the whole chain of trust of NAME's keys, or of a file of `keys export`, and explain it.

    Nothing is asked but the files. Exit codes: 0 all that can be checked holds, 1 something does not.

    \b
    Examples:
      ampzero keys verify kickass
      ampzero keys verify kickass.identity.json
    """
    import json

    import lib.console as console
    from keys.errors import TrustError
    from keys.lifecycle.verifying import verify_file, verify_folder

    path = Path(name)
    if path.is_file():
        report = verify_file(path)
    else:
        folder = _folder(name)
        report = verify_folder(folder, _hub(folder) if online else None)
    if as_json:
        console.out(
            json.dumps([{"verdict": one.verdict, "text": one.text} for one in report.findings], indent=2)
        )
    else:
        colours = {"ok": "green", "WRONG": "red", "--": "dim"}
        for one in report.findings:
            console.out(f"{console.paint(f'{one.verdict:5}', colours[one.verdict])}  {one.text}")
    if report.problems:
        raise TrustError(f"{name} is not to be trusted: {report.problems[0]}", "docs/keys.md says what to do")
    return 0


@command.command("ssh-ca")
@NAME
@click.option("--sshd", is_flag=True, help="Only the line for sshd's TrustedUserCAKeys.")
@click.option("--known-hosts", metavar="PATTERNS", help="Only the line for known_hosts, for these hosts.")
def ssh_ca(name: str, sshd: bool, known_hosts: str | None) -> int:
    """Print what trusts certificates of NAME's user: a line for sshd, and one for known_hosts.

    \b
    Examples:
      ampzero keys ssh-ca kickass --sshd                           into the file of TrustedUserCAKeys
      ampzero keys ssh-ca kickass --known-hosts '*.example.org'    into ~/.ssh/known_hosts
    """
    import lib.console as console
    from keys.ssh.certificate import authority_line
    from lib.errors import MissingError

    found = _loaded(_folder(name))
    if found.user.signing is None:
        raise MissingError(f"{found.user_id} is revoked: it has no key", f"ampzero keys rotate {name} user")
    line = f"{found.user.signing} {found.user_id}"
    authority = authority_line(found.user.signing, known_hosts or "*", found.user_id)
    if not sshd and known_hosts is None:
        console.say("# hosts let in whom it certifies: TrustedUserCAKeys FILE in sshd_config, and in FILE:")
    if sshd or known_hosts is None:
        console.out(line)
    if not sshd and known_hosts is None:
        console.say(
            "# ssh trusts the hosts that it certifies: in known_hosts, better with their names than *:"
        )
    if known_hosts is not None or not sshd:
        console.out(authority)
    return 0


@command.command("ssh-cert")
@NAME
@click.option("--user", "logins", multiple=True, metavar="LOGIN", help="Log in as; default: your own name.")
@click.option("--minutes", type=int, default=15, show_default=True, help="How long it is good for.")
@click.option("--key", metavar="PUBKEY", default="~/.ssh/id_ed25519.pub", show_default=True)
@click.option("-o", "--output", metavar="FILE", help="Default: beside PUBKEY, where ssh looks; - prints it.")
@PASSPHRASES
def ssh_cert(
    name: str, logins: tuple[str, ...], minutes: int, key: str, output: str | None, files: tuple[str, ...]
) -> int:
    """Certify PUBKEY by the user's key of NAME: hosts that trust that let it in, for some minutes."""
    import getpass

    from keys.ssh import certificate as sshcert

    public = Path(key).expanduser()
    line = sshcert.read_public(public)
    ring = _ring(_folder(name), files)
    made = sshcert.user_certificate(
        ring.need("user", "private"), line, logins or (getpass.getuser(),), ring.identities.user_id,
        minutes=minutes,
    )  # fmt: skip
    return _certified(made.line, public, output)


@command.command("ssh-host-cert")
@NAME
@click.option("--key", metavar="PUBKEY", required=True, help="As /etc/ssh/ssh_host_ed25519_key.pub.")
@click.option("--host", "hosts", multiple=True, required=True, metavar="HOST",
              help="A name or an address by which it is reached; may be given again.")  # fmt: skip
@click.option("--days", type=int, default=90, show_default=True, help="How long it is good for.")
@click.option("-o", "--output", metavar="FILE", help="Default: beside PUBKEY; - prints it.")
@PASSPHRASES
def ssh_host_cert(
    name: str, key: str, hosts: tuple[str, ...], days: int, output: str | None, files: tuple[str, ...]
) -> int:
    """Certify a host's PUBKEY by the user's key of NAME, for sshd's HostCertificate."""
    from keys.ssh import certificate as sshcert

    public = Path(key).expanduser()
    line = sshcert.read_public(public)
    ring = _ring(_folder(name), files)
    made = sshcert.host_certificate(
        ring.need("user", "private"), line, hosts, ring.identities.user_id, days=days
    )
    return _certified(made.line, public, output)


@command.command("ssh-krl")
@NAME
@click.argument("revoked", nargs=-1, metavar="[FILE]...")
@click.option("-o", "--output", metavar="FILE", required=True, help="Where the list goes.")
def ssh_krl(name: str, revoked: tuple[str, ...], output: str) -> int:
    """Write the list for sshd's RevokedKeys: earlier keys of the user, and what is in the FILEs.

    A FILE is a public key or a certificate.

    What was given once is remembered in ampnode/ssh.revoked.
    """
    from datetime import UTC, datetime

    import lib.console as console
    from keys import history
    from keys.ssh import authority as sshauthority
    from lib.errors import MissingError

    folder = _folder(name)
    path = _loaded(folder).path("user", "operations")
    chain = history.read(path)
    if chain is None:
        raise MissingError(f"no file {path}", f"ampzero keys export {name}")
    listed = sshauthority.revoke(folder, [Path(each) for each in revoked])
    _write(Path(output), sshauthority.revocation_list(listed, chain, datetime.now(UTC)))
    console.out(output)
    return 0


def _folder(name: str) -> Path:
    from lib.instance import find

    return find(name) / "ampnode"


def _hub(folder: Path) -> Any:
    from keys.hubs import open_hub

    return open_hub(folder)


def _loaded(folder: Path) -> Identities:
    import lib.console as console
    from keys.identities import load_identities

    found = load_identities(folder)
    for warning in found.warnings:
        console.warn(warning)
    return found


def _ring(folder: Path, files: tuple[str, ...]) -> Keyring:
    from keys.lifecycle.keyring import Keyring

    given = [passphrase_in(Path(file)) for file in files]
    return Keyring(_loaded(folder), given, lambda path: _ask(path, given), lambda: _choose(given))


def passphrase_in(path: Path) -> str:
    """The first line of a file.

    Raises: MissingError, StorageError, UsageError.
    """
    from keys.keyfile import check_passphrase
    from keys.reading import read_passphrase
    from lib.errors import UsageError

    text = read_passphrase(path)
    if not text:
        raise UsageError(f"{path}: its first line is empty", "leave --passphrase-file away for none")
    check_passphrase(text)
    return text


def new_passphrase() -> str:
    """A passphrase that is asked for twice; empty for none."""
    import lib.console as console
    from keys.keyfile import check_passphrase
    from lib.errors import UsageError

    while True:
        text = _hidden("passphrase (Enter for none; keys without one stay out of git)")
        try:
            check_passphrase(text)
        except UsageError as error:
            console.error(error.message, error.hint)
            continue
        if not text or _hidden("again") == text:
            return text
        console.error("these are not the same")


def _hidden(label: str) -> str:
    """One question whose answer is not shown."""
    return str(click.prompt(label, default="", hide_input=True, show_default=False, err=True))


def _ask(path: Path, given: list[str]) -> str:
    from keys.errors import PassphraseError
    from lib.errors import UsageError

    if sys.stdin.isatty():
        return str(click.prompt(f"passphrase of {path.name}", hide_input=True, err=True))
    if given:
        raise PassphraseError(f"wrong passphrase for {path}", "try again; nothing was changed")
    raise UsageError(f"{path} is encrypted", "--passphrase-file FILE opens it where nobody can be asked")


def _choose(given: list[str]) -> str:
    return given[0] if given else new_passphrase() if sys.stdin.isatty() else ""


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
    from keys.lifecycle.changing import Changing

    folder = _folder(name)
    ring = _ring(folder, files)
    changing = Changing(folder, _hub(folder), ring)
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


def _certified(line: str, public: Path, output: str | None) -> int:
    import lib.console as console

    if output == "-":
        console.out(line)
        return 0
    path = Path(output) if output else public.with_name(f"{public.name.removesuffix('.pub')}-cert.pub")
    _write(path, f"{line}\n".encode())
    console.out(str(path))
    return 0


def _write(path: Path, content: bytes) -> None:
    from lib.files import write_atomic

    write_atomic(path, content, 0o644)
