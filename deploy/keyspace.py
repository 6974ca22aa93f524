"""The keyspace cluster of an environment: which hosts are its members, and which of them lack what. Pure.

What a cluster is, its hosts say: they were told. deployment.yaml only says it for the first time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from ipaddress import IPv6Address, ip_address

import msgspec
from cryptography import x509

from deploy.config import KeyspaceConfig
from deploy.facts import Facts
from keys.tls.certificate import due_at
from lib.errors import ConfigError, MissingError, RefusedError
from lib.keyspace.cluster import FOLDER, Cluster, Member

PROGRAM = "etcd"
"""What a member needs."""
CLUSTER, CA = "cluster.json", "ca.pem"
PROCEDURE = "see docs/keyspace.md, Hosts of a cluster"


class EtcdMember(msgspec.Struct, frozen=True):
    """A member as etcd knows it. No name: it was added and has not started; no client_urls: it never ran."""

    name: str
    peer_urls: list[str]
    client_urls: list[str]


def names(config: KeyspaceConfig | None) -> tuple[str, ...]:
    """The hosts that are members, in order."""
    return tuple(config.hosts) if config else ()


def known(all_facts: Mapping[str, Facts]) -> Cluster | None:
    """The cluster that hosts were told of; None where none was.

    Raises: RefusedError where hosts were told of different ones.
    """
    found: dict[str, Cluster] = {}
    for name, facts in all_facts.items():
        if text := facts.settings.get(FOLDER, {}).get(CLUSTER):
            found[name] = _shared(_cluster(name, text))
    if not found:
        return None
    first, cluster = next(iter(found.items()))
    for name, other in found.items():
        if other != cluster:
            raise RefusedError(f"{first} and {name} belong to different keyspaces", PROCEDURE)
    return cluster


def _cluster(name: str, text: str) -> Cluster:
    try:
        return msgspec.json.decode(text, type=Cluster)
    except msgspec.DecodeError as error:
        raise RefusedError(f"{name}: its {CLUSTER} makes no sense: {error}", PROCEDURE) from error


def _shared(cluster: Cluster) -> Cluster:
    return msgspec.structs.replace(cluster, own=None, state="new")


def check(config: KeyspaceConfig | None, cluster: Cluster, file: str) -> None:
    """See that deployment.yaml says nothing else than the cluster is.

    Raises: ConfigError: a member is not exchanged by other words in a file.
    """
    members = [member.name for member in cluster.members]
    if sorted(names(config)) != sorted(members):
        is_now = f"the keyspace's hosts are {', '.join(members)}"
        raise ConfigError(f"{file}: {is_now}, and a deploy does not exchange them", PROCEDURE)
    assert config is not None  # noqa: S101 -- it has names
    if isinstance(config.hosts, dict):
        for member in cluster.members:
            if member != _member(member.name, config.hosts[member.name], config):
                raise ConfigError(
                    f"{file}: {member.name} is {member.client_url} in the keyspace, and stays so", PROCEDURE
                )


def first(config: KeyspaceConfig, all_facts: Mapping[str, Facts], token: str) -> Cluster:
    """The cluster as it is made.

    Raises: MissingError where a member's address is not known.
    """
    members = []
    for name in names(config):
        given = config.hosts[name] if isinstance(config.hosts, dict) else ""
        address = given or (all_facts[name].address if name in all_facts else "")
        if not address:
            raise MissingError(
                f"the address of {name}, which others of the keyspace dial, is not known",
                "reach all three the first time, or write {NAME: ADDRESS} under keyspace: hosts:",
            )
        members.append(_member(name, address, config))
    return Cluster(tuple(members), token)


def _member(name: str, address: str, config: KeyspaceConfig) -> Member:
    value = ip_address(address)
    host = f"[{value}]" if isinstance(value, IPv6Address) else str(value)
    return Member(name, f"https://{host}:{config.client_port}", f"https://{host}:{config.peer_port}")


def own(cluster: Cluster, name: str, state: str = "new") -> Cluster:
    """The cluster as the host `name` is told of it."""
    members = [member.name for member in cluster.members]
    number = members.index(name) if name in members else None
    return msgspec.structs.replace(cluster, own=number, state=state)


def lacks(cluster: Cluster, name: str, facts: Facts, now: datetime) -> str:
    """Why the host must be told anew, empty where it need not: "nothing", or "renewal" where it has all and
    some of it ends soon."""
    told = facts.settings.get(FOLDER, {})
    wanted = own(cluster, name)
    if CLUSTER not in told or _cluster(name, told[CLUSTER]).own != wanted.own:
        return "nothing"
    needed = ["client.pem", *(["member.pem"] if wanted.own is not None else [])]
    try:
        certificates = [x509.load_pem_x509_certificate(told.get(file, "").encode()) for file in needed]
        ends = [(certificate.not_valid_after_utc, due_at(certificate)) for certificate in certificates]
    except ValueError:
        return "nothing"
    if any(end <= now for end, _ in ends):
        return "nothing"
    return "renewal" if any(due <= now for _, due in ends) else ""


def is_formed(cluster: Cluster | None, all_facts: Mapping[str, Facts]) -> bool:
    """Whether a majority of the members has run: from then on they start one by one."""
    members = cluster.members if cluster else ()
    ran = sum(member.name in all_facts and all_facts[member.name].keyspace_data for member in members)
    return 2 * ran > len(members)


def lost(cluster: Cluster, all_facts: Mapping[str, Facts]) -> list[str]:
    """The members that have no data although the keyspace is formed: they were down then, or are replaced."""
    if not is_formed(cluster, all_facts):
        return []
    names = [member.name for member in cluster.members]
    return [name for name in names if name in all_facts and not all_facts[name].keyspace_data]


def state(cluster: Cluster, name: str, members: Sequence[EtcdMember]) -> str:
    """How a member without data is to start, by what the others say of it: etcd's new or existing.

    Raises: RefusedError for one that has run: it would be another with its name.
    """
    peer = next(member.peer_url for member in cluster.members if member.name == name)
    found = next((each for each in members if peer in each.peer_urls), None)
    if found is None or (found.name and found.client_urls):
        raise RefusedError(f"{name}: it is a member of the keyspace, and its data is not there", PROCEDURE)
    return "new" if found.name else "existing"
