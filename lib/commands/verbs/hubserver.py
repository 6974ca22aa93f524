"""`ampzero hub serve`, and what its operator does beside it: invites, back-ups."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lib.commands.verbs.output import show

if TYPE_CHECKING:
    from keys.hub import Hub

DATA = click.option("--data", "folder", type=click.Path(path_type=Path), metavar="FOLDER",
                    help="The hub's folder; default: `hub-server` in your data folder.")  # fmt: skip
DATABASE = click.option("--database", default="", metavar="URL", help="PostgreSQL in place of SQLite.")


@click.command()
@DATA
@DATABASE
@click.option("--listen", default="127.0.0.1:8150", metavar="HOST:PORT", show_default=True)
@click.option(
    "--origin", default="", metavar="NAME", help="A new hub's name, for ever; default: its URL's host."
)
@click.option(
    "--url", default="", metavar="URL", help="Where others reach a new hub; https, but on the loopback."
)
@click.option(
    "--tls-certificate", type=click.Path(path_type=Path), metavar="FILE", help="PEM, with its chain."
)
@click.option(
    "--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="PEM; SIGHUP reads both again."
)
@click.option("--trusted-proxy", "proxies", multiple=True, metavar="NETWORK",
              help="Whose X-Forwarded-For counts, as 127.0.0.1; may be given again.")  # fmt: skip
@click.option("--metrics-from", "scrapers", multiple=True, default=("127.0.0.0/8", "::1"), metavar="NETWORK",
              show_default=True, help="Who may read /metrics.")  # fmt: skip
@click.option("--invites", is_flag=True, help="A user needs an invite to register.")
@click.option("--rate", "rates", multiple=True, metavar="NAME=COUNT/SECONDS",
              help="Change a rate limit: register, operate, announce, look, host, identity.")  # fmt: skip
@click.option("--quota", "quotas", multiple=True, metavar="NAME=COUNT",
              help="Change a quota, 0 for none: hosts, registrations, operations.")  # fmt: skip
@click.pass_obj
def serve(
    as_json: bool, folder: Path | None, database: str, listen: str, origin: str, url: str,
    tls_certificate: Path | None, tls_key: Path | None, proxies: tuple[str, ...], scrapers: tuple[str, ...],
    invites: bool, rates: tuple[str, ...], quotas: tuple[str, ...],
) -> int:  # fmt: skip
    """Run a hub until SIGTERM or Ctrl-C; the first line is its URL#FINGERPRINT.

    A hub is made where there is none. Behind a proxy say --trusted-proxy; without one it needs a certificate
    of its own, but for loopback addresses. docs/hub.md has both.

    \b
    Examples:
      ampzero hub serve
      ampzero hub serve --url https://hub.example --trusted-proxy 127.0.0.1
      ampzero hub serve --listen 0.0.0.0:443 --url https://hub.example \\
        --tls-certificate chain.pem --tls-key key.pem
    """
    import lib.console as console
    from keys.hubserver import opening, running
    from keys.hubserver.app import App
    from keys.hubserver.calls import Calls
    from keys.hubserver.rates import rates as chosen_rates
    from keys.hubserver.source import networks
    from lib.errors import UsageError

    if (tls_certificate is None) != (tls_key is None):
        raise UsageError("a certificate and its key belong together", "--tls-certificate FILE --tls-key FILE")
    tls = (tls_certificate, tls_key) if tls_certificate and tls_key else None
    if tls:
        running.check_files(*tls)
    trusted, allowed, limits = networks(proxies), networks(scrapers), chosen_rates(rates)
    options = opening.quotas(quotas, invites=invites)
    listener, address = running.listen(*running.parse_address(listen))
    hub = None
    try:
        hub = opening.open_or_make(
            folder or opening.default_folder(), address, is_tls=tls is not None, origin=origin, url=url,
            database=database, options=options,
        )  # fmt: skip
        reference = str(opening.reference(hub))

        def started() -> None:
            fields = {"url": reference, "listen": f"{address[0]}:{address[1]}"}
            show(as_json, fields, [reference])
            sys.stdout.flush()
            console.say(f"the hub {hub.name} listens at {fields['listen']}")

        running.serve(
            App(Calls(hub, allowed), limits, trusted, console.warn), listener, tls, started, console.warn
        )
    finally:
        listener.close()
        if hub is not None:
            hub.close()
    return 0


@click.command()
@DATA
@DATABASE
@click.option("--days", default=7, type=click.IntRange(1, 365), show_default=True, help="How long it holds.")
@click.pass_obj
def invite(as_json: bool, folder: Path | None, database: str, days: int) -> int:
    """Make an invite: whoever has it may register one user."""
    from datetime import timedelta

    with _hub(folder, database) as hub:
        word = hub.invite(timedelta(days=days))
    return show(as_json, {"invite": word, "days": days}, [word])


@click.command()
@DATA
@DATABASE
@click.argument("target", type=click.Path(path_type=Path), metavar="TARGET")
@click.pass_obj
def backup(as_json: bool, folder: Path | None, database: str, target: Path) -> int:
    """Copy the hub to the new folder TARGET, also while it serves. No secret is in it."""
    from keys.hub.backup import back_up

    with _hub(folder, database) as hub:
        said = back_up(hub, target)
    return show(as_json, {"target": str(target), "log_size": said.size}, [f"{said.size} log entries"])


@click.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="SOURCE")
@DATA
@click.option("--seen", multiple=True, type=click.Path(path_type=Path, exists=True), metavar="FILE",
              help="A checkpoint that a client has seen; may be given again.")  # fmt: skip
@click.pass_obj
def restore(as_json: bool, source: Path, folder: Path | None, seen: tuple[Path, ...]) -> int:
    """Put the back-up SOURCE in place, where no signed history is lost. The hub must not run."""
    from keys.hub.backup import restore as restoring
    from keys.hubserver import opening

    texts = [path.read_text(errors="replace") for path in seen]
    said = restoring(source, folder or opening.default_folder(), texts)
    return show(as_json, {"log_size": said.size}, [f"restored: {said.size} log entries"])


@contextmanager
def _hub(folder: Path | None, database: str) -> Iterator[Hub]:
    """The hub in `folder`, for a command beside the one that serves it."""
    from keys.hub import Hub
    from keys.hubserver import opening

    hub = Hub.open(folder or opening.default_folder(), database=database)
    try:
        yield hub
    finally:
        hub.close()
