"""One environment of deployment.yaml, with everything that the top of the file says in its place."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.checks import check
from deploy.config import (
    SHARE,
    Canary,
    DeploymentConfig,
    EnvironmentConfig,
    Hooks,
    HostConfig,
    KeyspaceConfig,
    PolicyConfig,
    ReleaseConfig,
    Ssh,
    host_name,
)
from lib import yamlfile
from lib.errors import MissingError, UsageError
from lib.yamlfile import did_you_mean

CONFIG_NAME = "deployment.yaml"
EMPTY = (("environments",), ("environments", "*"), ("release",), ("hooks",), ("ssh",))


@dataclass(frozen=True)
class Host:
    """A machine reached over SSH. `address` is as it was written; `name` is what messages call it."""

    name: str
    address: str
    role: str = ""
    pre_update: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Environment:
    """One environment, with everything that the top of the file says in its place.

    `services` are names of services with the hosts that run them beside those of every host.
    `secrets` maps a path in the instance to the local file that it is made of. `min_ready` hosts must be
    ready for a release to stay.
    """

    name: str
    hosts: tuple[Host, ...]
    canary: Canary | None
    policy: PolicyConfig
    min_ready: int
    release: ReleaseConfig
    hooks: Hooks
    ssh: Ssh
    secrets: dict[str, Path]
    root: str
    file: Path
    keyspace: KeyspaceConfig | None = None
    services: Mapping[str, Sequence[str]] = field(default_factory=dict)


def load_environment(directory: Path, name: str | None, file: Path | None = None) -> Environment:
    """The environment `name` of the instance in `directory`; without a name the only one there is.

    Raises: MissingError, UsageError, ConfigError (`file:line:column: key.path: what`), StorageError.
    """
    path = file or directory / CONFIG_NAME
    if not path.is_file():
        raise MissingError(f"there is no {path}", "it names the hosts; `ampzero init` makes one to fill in")
    document = yamlfile.read(path)
    config = document.convert(DeploymentConfig, empty=EMPTY)
    check(config, document.error)
    name = _choose(config, name, path)
    return _resolved(config, config.environments[name], name, path, directory)


def _choose(config: DeploymentConfig, name: str | None, path: Path) -> str:
    known = list(config.environments)
    if name is None:
        if len(known) == 1:
            return known[0]
        if not known:
            raise MissingError(f"{path} names no environment", "write its hosts under environments:")
        raise UsageError(f"{path} has several environments", f"--env {' or --env '.join(known)}")
    if name not in config.environments:
        hint = did_you_mean(name, known) or f"there are: {', '.join(known) or 'none'}"
        raise UsageError(f"{path} has no environment {name!r}", hint)
    return name


def _resolved(config: DeploymentConfig, environment: EnvironmentConfig, name: str, path: Path,
              directory: Path) -> Environment:  # fmt: skip
    secrets = config.secrets if environment.secrets is None else environment.secrets
    files = secrets if isinstance(secrets, dict) else {each: each for each in secrets}
    hosts = tuple(make_host(each) for each in environment.hosts)
    return Environment(
        name=name, hosts=hosts, canary=environment.canary, policy=environment.policy,
        min_ready=least(environment.policy.min_ready, len(hosts)),
        release=environment.release or config.release, hooks=environment.hooks or config.hooks,
        ssh=environment.ssh or config.ssh, secrets={to: directory / source for to, source in files.items()},
        root=environment.root or config.root, file=path,
        keyspace=environment.keyspace, services=environment.services,
    )  # fmt: skip


def make_host(given: str | HostConfig) -> Host:
    """A host as it is written in the file."""
    if isinstance(given, str):
        return Host(host_name(given), given)
    hook = given.pre_update
    words = tuple(shlex.split(hook)) if isinstance(hook, str) else tuple(hook) if hook is not None else None
    return Host(host_name(given), given.address, given.role, words)


def least(min_ready: str | int, hosts: int) -> int:
    """How many of `hosts` must be ready: a number, or a share that is rounded up."""
    if isinstance(min_ready, int):
        return min(min_ready, hosts)
    match = SHARE.match(min_ready)
    return -(-hosts * int(match[1]) // 100) if match else hosts
