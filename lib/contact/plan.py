"""Whether an instance has a contact process, and what that and nginx are told. Reads one public key file.

`auto` in amprun.yaml is decided here: contact is on where the instance's hub is a server; a port is mapped at
the gateway where that hub is not on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lib.config import ServiceConfig
from lib.errors import ConfigError, TakenError
from lib.instance import Instance
from lib.kinds import kind_of
from lib.node.identity import find_identities, read_fields
from lib.options import Options

NAME = "contact"
"""The service's name and kind; no service of amprun.yaml may be called so where contact is on."""
OFFSET = 3
"""What `port: auto` adds to the instance's port."""
NO_URL = "none"


@dataclass(frozen=True)
class ContactPlan:
    """`nginx` names the service that listens on `port`; with `everywhere` on all addresses of this machine.

    `addresses` are announced in place of those that are found; `nat`: a port is mapped at the gateway.
    `passphrase_file` holds the passphrase of the host's private key; empty for none.
    """

    nginx: str
    port: int
    socket: Path
    everywhere: bool
    addresses: tuple[str, ...]
    nat: bool
    passphrase_file: str


def hub_url(instance: Instance) -> str:
    """The URL of the instance's hub, `none` for the one inside of ampzero; empty without keys.

    Nobody has verified it: it only says what is to be started, and what is started verifies it.
    """
    hub_file = instance.directory / "ampnode/hub.public.key"
    return read_fields(hub_file).get("url", "") if hub_file.is_file() else ""


def is_near(url: str) -> bool:
    """Whether the hub at `url` is on this machine, so that only instances on this machine are found there."""
    # Loaded by those who have a contact process: a start must be quick.
    from urllib.parse import urlsplit

    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return url == NO_URL or host in ("localhost", "::1") or host.startswith("127.")


def why_off(instance: Instance, options: Options) -> str:
    """Why there is no contact process; empty where there is one, if there is an nginx, too."""
    enabled = instance.config.contact.enabled
    if not options.hub:
        return "nothing is announced: --no-hub was given"
    if enabled is False:
        return "nothing is announced: amprun.yaml says contact: {enabled: false}"
    url = hub_url(instance)
    if not url:
        return "nothing is announced: this instance has no keys"
    if enabled == "auto" and url == NO_URL:
        return "nothing is announced: the hub is inside of ampzero"
    host = find_identities(instance.directory / "ampnode").host
    if host is None or not host.private_file.is_file():
        # As on hosts, where a deploy brings no secrets, and after a revocation.
        return "nothing is announced: the host's private key is not here"
    return ""


def make_plan(
    instance: Instance, options: Options, chosen: Mapping[str, ServiceConfig], port: Callable[[str, int], int]
) -> ContactPlan | None:
    """What runs; None where there is no contact process. `port` is as a Context's.

    Raises: TakenError for a port that amprun.yaml names; ConfigError.
    """
    nginx = [name for name, config in chosen.items() if kind_of(name, config) == "nginx" and config.processes]
    if not nginx or why_off(instance, options):
        return None
    if NAME in instance.config.services:
        raise ConfigError(
            f"{instance.config_file}: services.{NAME}: the name is ampzero's own where contact is on",
            "give the service another name, or switch it off: contact: {enabled: false}",
        )
    wanted, near = instance.config.contact, is_near(hub_url(instance))
    return ContactPlan(
        nginx=nginx[0],
        port=_port(instance, port),
        socket=instance.sockets / f"{NAME}.sock",
        everywhere=options.server or not near or bool(wanted.addresses),
        addresses=tuple(wanted.addresses),
        nat=options.nat and (not near if wanted.nat == "auto" else wanted.nat),
        passphrase_file=options.passphrase_file,
    )


def _port(instance: Instance, port: Callable[[str, int], int]) -> int:
    wanted = instance.config.contact.port
    if wanted != "auto":
        return port(NAME, wanted)
    beside = instance.config.port + OFFSET
    try:
        return port(NAME, beside if beside <= 65535 else 0)
    except TakenError:
        return port(NAME, 0)
