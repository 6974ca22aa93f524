"""What each host of an environment is told alone: its part of the keyspace, and further services it runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from deploy import keyspace, keyspaceauthority
from deploy.environment import Environment
from deploy.facts import Facts
from deploy.keyspace import EtcdMember
from deploy.keyspaceauthority import Authority
from lib.errors import MissingError, UsageError
from lib.keyspace.cluster import FOLDER, Cluster
from lib.told import SERVICES, Services

Ask = Callable[[str], Sequence[EtcdMember]]
SERVER = "server"
NONE = '{"services":[]}'
Files = dict[str, str]
Groups = dict[str, Files]
"""The files that a host is told, by group (deploy/agent/settings.py)."""


class HostSettings:
    """What the hosts of `environment` lack. The CA of their keyspace is below `base`."""

    def __init__(self, environment: Environment, base: Path) -> None:
        self._environment = environment
        self._base = base

    def together(self, all_facts: Mapping[str, Facts], chosen: Iterable[str]) -> frozenset[str]:
        """The hosts that must be switched at once: the members of a keyspace that is not formed yet.

        Raises: UsageError where only one of them is `chosen`; ConfigError, RefusedError.
        """
        cluster = self._cluster(all_facts)
        if self._environment.keyspace is None or keyspace.is_formed(cluster, all_facts):
            return frozenset()
        members = frozenset(keyspace.names(self._environment.keyspace))
        if len(members & set(chosen)) == 1:
            raise UsageError(
                "the keyspace begins with two of its hosts at least", f"--host {' --host '.join(members)}"
            )
        return members

    def lacking(self, all_facts: Mapping[str, Facts]) -> frozenset[str]:
        """The hosts that are to be told something.

        Raises: ConfigError, RefusedError.
        """
        return frozenset(
            name for name, facts in all_facts.items()
            if self._lacks(name, facts, all_facts) or self._other_services(name, facts)
        )  # fmt: skip

    def _services(self, name: str) -> str:
        found = sorted(service for service, hosts in self._environment.services.items() if name in hosts)
        return msgspec.json.encode(Services(found)).decode()

    def _other_services(self, name: str, facts: Facts) -> bool:
        """Whether the host was told of others than it is to run; one that never was runs none."""
        return facts.settings.get(SERVER, {}).get(SERVICES, NONE) != self._services(name)

    def _lacks(self, name: str, facts: Facts, all_facts: Mapping[str, Facts]) -> str:
        cluster = self._cluster(all_facts)
        if self._environment.keyspace is None:
            return ""
        return keyspace.lacks(cluster, name, facts, datetime.now(UTC)) if cluster else "nothing"

    def _cluster(self, all_facts: Mapping[str, Facts]) -> Cluster | None:
        cluster = keyspace.known(all_facts)
        if cluster is not None:
            keyspace.check(self._environment.keyspace, cluster, self._environment.file.name)
        return cluster

    def make(self, all_facts: Mapping[str, Facts], chosen: Iterable[str], ask: Ask) -> dict[str, Groups]:
        """What each of the hosts `chosen` is told, by name; nothing for one that has all. `ask` has a host
        say what etcd knows of its members.

        Raises: ConfigError, RefusedError, StorageError; MissingError where a host needs a certificate, and
        the CA is not on this machine; what `ask` raises.
        """
        names = list(chosen)
        found: dict[str, Groups] = {
            name: {SERVER: {SERVICES: self._services(name)}} for name in names
            if self._other_services(name, all_facts[name])
        }  # fmt: skip
        for name, files in self._of_keyspace(all_facts, names, ask).items():
            found.setdefault(name, {})[FOLDER] = files
        return found

    def _of_keyspace(
        self, all_facts: Mapping[str, Facts], names: Iterable[str], ask: Ask
    ) -> dict[str, Files]:
        wanted = {name: why for name in names if (why := self._lacks(name, all_facts[name], all_facts))}
        config = self._environment.keyspace
        if not wanted or config is None:
            return {}
        cluster = self._cluster(all_facts)
        if cluster is None:
            cluster = keyspace.first(config, all_facts, os.urandom(8).hex())
            authority: Authority | None = keyspaceauthority.make(self._base, cluster.token)
        else:
            authority = keyspaceauthority.find(self._base, cluster.token)
        if authority is None:
            if lost := [name for name, why in wanted.items() if why != "renewal"]:
                raise MissingError(
                    f"{lost[0]} needs a certificate of the keyspace, and its CA is not on this machine",
                    f"copy {keyspaceauthority.folder(self._base, cluster.token)} from the one that made it",
                )
            return {}
        states = _states(cluster, all_facts, wanted, ask)
        return {
            name: _files(keyspace.own(cluster, name, states.get(name, "new")), authority) for name in wanted
        }


def _states(cluster: Cluster, all_facts: Mapping[str, Facts], wanted: Iterable[str],
            ask: Ask) -> dict[str, str]:  # fmt: skip
    """How those of the hosts begin that are members and have no data, where others have."""
    lost = [name for name in keyspace.lost(cluster, all_facts) if name in wanted]
    if not lost:
        return {}
    others = [member.name for member in cluster.members if member.name in all_facts]
    known = ask(next(name for name in others if all_facts[name].keyspace_data))
    return {name: keyspace.state(cluster, name, known) for name in lost}


def _files(cluster: Cluster, authority: Authority) -> Files:
    now = datetime.now(UTC)
    certificate, key = authority.client(now)
    files = {
        keyspace.CLUSTER: msgspec.json.encode(cluster).decode(), keyspace.CA: authority.pem,
        "client.pem": certificate, "client.key": key,
    }  # fmt: skip
    if cluster.own is not None:
        member = cluster.members[cluster.own]
        # etcd's own gateway dials the address that it listens at, and shows its member's certificate.
        hosts = {urlsplit(url).hostname or "" for url in (member.client_url, member.peer_url)}
        certificate, key = authority.member(sorted(hosts), now)
        files |= {"member.pem": certificate, "member.key": key}
    return files
