"""The types of deployment.yaml: one class a section; the defaults stand here and nowhere else.

What an environment leaves out, the top of the file says. Owns what the keys are; what values they may have
beyond their types is deploy/checks.py's.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from lib.config import Duration, Port, Section

DEFAULT_ROOT = "/opt/ampzero"
SHARE = re.compile(r"^(\d{1,3})%$")

Orphan = Literal["open-new", "stay-closed"]


class ReleaseConfig(Section, frozen=True):
    """What a release promises. `compatible`: the old and the new may serve at the same time."""

    compatible: bool = False
    expires: Duration = "7d"


class Hooks(Section, frozen=True):
    """Commands around a deploy: text is taken apart as a shell would, a list is taken as it is."""

    pre_deploy: str | list[str] | None = None
    pre_update: str | list[str] | None = None
    post_deploy: str | list[str] | None = None
    timeout: Duration = "10m"


class Ssh(Section, frozen=True):
    """How hosts are reached; without a key OpenSSH's own defaults hold.

    `certificate`: log in with a certificate of the user's key, which the hosts' sshd must trust.
    """

    config: str | None = None
    known_hosts: str | None = None
    key: str | None = None
    certificate: bool = False
    connect_timeout: Duration = 15.0


class HostConfig(Section, frozen=True):
    """One host, where `user@host:port` does not say enough."""

    address: str
    name: str | None = None
    role: str = ""
    pre_update: str | list[str] | None = None


class Canary(Section, frozen=True):
    """The hosts that get a release first: so many, then `percent` of all where it is given."""

    hosts: Annotated[int, msgspec.Meta(ge=1)] = 1
    percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    bake: Duration = 30.0


class PolicyConfig(Section, frozen=True):
    """When a deploy goes on without some of its hosts, and what a host does that lost its coordinator."""

    min_ready: str | int = "100%"
    on_orphan: Orphan = "open-new"
    orphan_after: Duration = 30.0
    health_deadline: Duration = 60.0
    drain: Duration = 10.0
    step_deadline: Duration = "5m"


class KeyspaceConfig(Section, frozen=True):
    """The three hosts that run the keyspace, or a mapping from each to the IP address that others dial."""

    hosts: list[str] | dict[str, str] = msgspec.field(default_factory=list)
    client_port: Port = 2379
    peer_port: Port = 2380


class EnvironmentConfig(Section, frozen=True):
    """A named set of hosts, and what is different there."""

    hosts: list[str | HostConfig] = msgspec.field(default_factory=list)
    canary: Canary | None = None
    policy: PolicyConfig = PolicyConfig()
    release: ReleaseConfig | None = None
    hooks: Hooks | None = None
    ssh: Ssh | None = None
    secrets: list[str] | dict[str, str] | None = None
    root: str | None = None
    keyspace: KeyspaceConfig | None = None
    services: dict[str, list[str]] = msgspec.field(default_factory=dict)


class DeploymentConfig(Section, frozen=True):
    """The whole of deployment.yaml."""

    release: ReleaseConfig = ReleaseConfig()
    hooks: Hooks = Hooks()
    ssh: Ssh = Ssh()
    secrets: list[str] | dict[str, str] = msgspec.field(default_factory=list)
    root: str = DEFAULT_ROOT
    environments: dict[str, EnvironmentConfig] = msgspec.field(default_factory=dict)


def host_name(given: str | HostConfig) -> str:
    """What a host is called: its name, or else its address without the user."""
    if isinstance(given, HostConfig) and given.name:
        return given.name
    return (given if isinstance(given, str) else given.address).rpartition("@")[2]
