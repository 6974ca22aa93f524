"""Where an address leads and how: what ~/.ssh/config and the settings say about it."""

from __future__ import annotations

import getpass
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deploy.transport.knownhosts import PORT
from deploy.transport.settings import Settings
from lib.errors import ConfigError

ADDRESS = re.compile(
    r"^(?:ssh://)?(?:(?P<user>[^@\s/]+)@)?(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^:@\s/\[\]]+))"
    r"(?::(?P<port>\d{1,5}))?$"
)
KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
SYSTEM_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"


@dataclass(frozen=True)
class Target:
    """A host as it is reached. `name` is what messages call it; `jump` is a ProxyJump list, "" for none.

    `keys` are the files that are configured; without one the agent's keys and the usual files are offered.
    `agent` is the socket of the agent, "" for none. `key_name` is its name in known_hosts.
    """

    name: str
    host: str
    port: int
    user: str
    keys: tuple[Path, ...]
    certificate: Path | None
    only_files: bool
    agent: str
    known_hosts: tuple[Path, ...]
    key_name: str
    jump: str
    timeout: float

    def hop(self, settings: Settings) -> Target | None:
        """The host that the way leads through just before this one; never itself (`Host *` has a ProxyJump).

        Raises: ConfigError.
        """
        if not self.jump:
            return None
        before, _, last = self.jump.rpartition(",")
        found = resolve(last.strip(), settings, through=True)
        if (found.host, found.port, found.user) == (self.host, self.port, self.user):
            return None
        return replace(found, jump=before) if before else found


def resolve(address: str, settings: Settings, *, through: bool = False) -> Target:
    """The target of `user@host:port`, `[v6]:port` or a name of the configuration; `through`: a jump host.

    Raises: ConfigError.
    """
    parts = ADDRESS.match(address)
    if parts is None or address.startswith("-"):
        raise ConfigError(f"{address!r} is not an address of a host", "write user@host or user@host:port")
    name = parts["v6"] or parts["host"]
    found: dict[str, Any] = dict(settings.ssh_config.lookup(name))
    if found.get("proxycommand"):
        raise ConfigError(f"{name}: ProxyCommand of the SSH configuration cannot be used", "use ProxyJump")
    keys = tuple(_path(one, name) for one in found.get("identityfile", []) if one != "none")
    if settings.key and not (through and keys):
        keys = (settings.key,)
    certificate = found.get("certificatefile", "none")
    jump = found.get("proxyjump", "none")
    alias = found.get("hostkeyalias", "")
    host = found["hostname"]
    try:
        port = int(parts["port"] or found.get("port", PORT))
        timeout = float(found["connecttimeout"]) if "connecttimeout" in found else settings.timeout
    except ValueError as error:
        raise ConfigError(f"{name}: the SSH configuration has no number there: {error}") from error
    return Target(
        name=name, host=host, port=port, user=parts["user"] or found.get("user") or getpass.getuser(),
        keys=keys, certificate=None if certificate == "none" else _path(certificate, name),
        only_files=found.get("identitiesonly", "no") == "yes", agent=_agent(found.get("identityagent", "")),
        known_hosts=_known_hosts(found, settings, name), key_name=alias or host,
        jump="" if jump.lower() == "none" else jump, timeout=timeout,
    )  # fmt: skip


def _path(given: str, name: str) -> Path:
    return Path(given.replace("%d", "~").replace("%n", name)).expanduser()


def _agent(given: str) -> str:
    """IdentityAgent: a path, the name of a variable, `none`, or nothing for the usual one."""
    if given.lower() == "none":
        return ""
    if given in ("", "SSH_AUTH_SOCK"):
        given = "$SSH_AUTH_SOCK"
    if given.startswith("$"):
        return os.environ.get(given[1:].strip("{}"), "")
    return str(Path(given).expanduser())


def _known_hosts(found: dict[str, Any], settings: Settings, name: str) -> tuple[Path, ...]:
    if settings.known_hosts:
        return (settings.known_hosts,)
    words = found.get("userknownhostsfile", KNOWN_HOSTS).split()
    words += found.get("globalknownhostsfile", SYSTEM_KNOWN_HOSTS).split()
    return tuple(_path(word.strip('"'), name) for word in words)
