"""`ampzero keys ssh-…`: an instance's user as the authority of SSH."""

from __future__ import annotations

from pathlib import Path

import click

from lib.commands.verbs.keyring import NAME, PASSPHRASES, folder_of, loaded, open_ring


@click.command("ssh-ca")
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

    found = loaded(folder_of(name))
    if found.user.signing is None:
        raise MissingError(f"{found.user_id} is revoked: it has no key", f"ampzero keys rotate {name} user")
    line = f"{found.user.signing} {found.user_id}"
    authority = authority_line(found.user.signing, known_hosts or "*", found.user_id)
    both = not sshd and known_hosts is None
    if both:
        console.say("# hosts let in whom it certifies: TrustedUserCAKeys FILE in sshd_config, and in FILE:")
    if both or sshd:
        console.out(line)
    if both:
        console.say(
            "# ssh trusts the hosts that it certifies: in known_hosts, better with their names than *:"
        )
    if both or known_hosts is not None:
        console.out(authority)
    return 0


@click.command("ssh-cert")
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
    ring = open_ring(folder_of(name), files)
    made = sshcert.user_certificate(
        ring.need("user", "private"), line, logins or (getpass.getuser(),), ring.identities.user_id,
        minutes=minutes,
    )  # fmt: skip
    return _certified(made.line, public, output)


@click.command("ssh-host-cert")
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
    ring = open_ring(folder_of(name), files)
    made = sshcert.host_certificate(
        ring.need("user", "private"), line, hosts, ring.identities.user_id, days=days
    )
    return _certified(made.line, public, output)


@click.command("ssh-krl")
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
    from lib.files import write_atomic

    folder = folder_of(name)
    path = loaded(folder).path("user", "operations")
    chain = history.read(path)
    if chain is None:
        raise MissingError(f"no file {path}", f"ampzero keys export {name}")
    listed = sshauthority.revoke(folder, [Path(each) for each in revoked])
    write_atomic(Path(output), sshauthority.revocation_list(listed, chain, datetime.now(UTC)))
    console.out(output)
    return 0


def _certified(line: str, public: Path, output: str | None) -> int:
    import lib.console as console
    from lib.files import write_atomic

    if output == "-":
        console.out(line)
        return 0
    path = Path(output) if output else public.with_name(f"{public.name.removesuffix('.pub')}-cert.pub")
    write_atomic(path, f"{line}\n")
    console.out(str(path))
    return 0
