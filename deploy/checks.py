"""The checks of deployment.yaml that types cannot make; each says where and what to do."""

from __future__ import annotations

import re
import shlex
from ipaddress import ip_address
from pathlib import Path

from deploy.config import (
    DEFAULT_ROOT,
    SHARE,
    DeploymentConfig,
    EnvironmentConfig,
    Hooks,
    KeyspaceConfig,
    host_name,
)
from lib.checks.values import Fail
from lib.config import Duration
from lib.duration import seconds
from lib.errors import ConfigError
from lib.keyspace.cluster import MEMBERS
from lib.yamlfile import KeyPath

ADDRESS = re.compile(r"^(?:[A-Za-z_][\w.-]*@)?(?:[A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?$")
"""user@host:port; an IPv6 address stands in brackets. A name of ~/.ssh/config may stand for all of it."""


def check(config: DeploymentConfig, fail: Fail) -> None:
    """What types cannot say about the file.

    Raises: ConfigError.
    """
    _check_root(config.root, ("root",), fail)
    _check_secrets(config.secrets, ("secrets",), fail)
    _check_hooks(config.hooks, ("hooks",), fail)
    _check_time(config.release.expires, ("release", "expires"), fail, 60.0)
    for name, environment in config.environments.items():
        _check_environment(environment, ("environments", name), fail)


def _check_environment(environment: EnvironmentConfig, at: KeyPath, fail: Fail) -> None:
    names: dict[str, int] = {}
    for number, given in enumerate(environment.hosts):
        where = (*at, "hosts", number)
        address = given if isinstance(given, str) else given.address
        match = ADDRESS.match(address)
        if not match or (match[1] and not 1 <= int(match[1]) <= 65535):
            raise fail(where, f"not an address: {address[:60]!r}", "write user@host or user@host:port")
        name = host_name(given)
        if name in names:
            raise fail(where, f"the host {name} stands there twice", "give one of them another name")
        names[name] = number
    if environment.root is not None:
        _check_root(environment.root, (*at, "root"), fail)
    if environment.secrets is not None:
        _check_secrets(environment.secrets, (*at, "secrets"), fail)
    if environment.hooks is not None:
        _check_hooks(environment.hooks, (*at, "hooks"), fail)
    for service, hosts in environment.services.items():
        for host in hosts:
            if host not in names:
                raise fail((*at, "services", service), f"no host {host!r} in this environment",
                           f"there are: {', '.join(names)}")  # fmt: skip
    if environment.keyspace is not None:
        _check_keyspace(environment.keyspace, list(names), (*at, "keyspace"), fail)
    _check_policy(environment, at, fail)


def _check_keyspace(keyspace: KeyspaceConfig, known: list[str], at: KeyPath, fail: Fail) -> None:
    where = (*at, "hosts")
    for name in keyspace.hosts:
        if name not in known:
            raise fail(where, f"no host {name!r} in this environment", f"there are: {', '.join(known)}")
    if len(set(keyspace.hosts)) != MEMBERS or len(keyspace.hosts) != MEMBERS:
        raise fail(where, f"a keyspace has {MEMBERS} hosts", "any two of them go on without the third")
    for name, address in keyspace.hosts.items() if isinstance(keyspace.hosts, dict) else ():
        try:
            ip_address(address)
        except ValueError as error:
            raise fail((*where, name), f"not an IP address: {address[:60]!r}", "etcd wants one") from error
    if keyspace.client_port == keyspace.peer_port:
        raise fail((*at, "peer_port"), "is that of the clients")


def _check_policy(environment: EnvironmentConfig, at: KeyPath, fail: Fail) -> None:
    policy = environment.policy
    share = policy.min_ready
    wrong = share < 1 if isinstance(share, int) else not SHARE.match(share) or not 1 <= int(share[:-1]) <= 100
    if wrong:
        raise fail((*at, "policy", "min_ready"), f"not a share or a number: {share!r}", "as 90% or 18")
    for key in ("orphan_after", "health_deadline", "drain", "step_deadline"):
        _check_time(getattr(policy, key), (*at, "policy", key), fail)
    if environment.canary is not None:
        _check_time(environment.canary.bake, (*at, "canary", "bake"), fail)
        if environment.canary.hosts >= max(2, len(environment.hosts)):
            raise fail((*at, "canary", "hosts"), "the canary is not smaller than the environment")


def _check_time(value: Duration, at: KeyPath, fail: Fail, minimum: float = 0.0) -> None:
    try:
        length = seconds(value)
    except ConfigError as error:
        raise fail(at, error.message, error.hint) from error
    if length < minimum:
        raise fail(at, f"is less than {minimum:g}s")


def _check_root(root: str, at: KeyPath, fail: Fail) -> None:
    parts = Path(root).parts
    if not root.startswith("/") or ".." in parts or len(parts) < 2 or not root.isprintable():
        raise fail(at, f"not an absolute folder: {root[:60]!r}", f"as {DEFAULT_ROOT}")


def _check_secrets(secrets: list[str] | dict[str, str], at: KeyPath, fail: Fail) -> None:
    for step, path in enumerate(secrets) if isinstance(secrets, list) else ((each, each) for each in secrets):
        if path.startswith("/") or ".." in Path(path).parts or not path.strip("./") or not path.isprintable():
            raise fail((*at, step), f"not a path below the instance: {path[:60]!r}")


def _check_hooks(hooks: Hooks, at: KeyPath, fail: Fail) -> None:
    _check_time(hooks.timeout, (*at, "timeout"), fail, 1.0)
    for key in ("pre_deploy", "pre_update", "post_deploy"):
        given = getattr(hooks, key)
        try:
            empty = given is not None and not (shlex.split(given) if isinstance(given, str) else given)
        except ValueError as error:
            raise fail((*at, key), f"cannot be taken apart: {error}") from error
        if empty:
            raise fail((*at, key), "is empty")
