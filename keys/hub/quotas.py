"""How much one user, or one network, may have of a hub. Kept in the database: a restart forgets nothing."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime

from keys.errors import QuotaError
from keys.hub import registry
from keys.hub.database import Work

DAY = 24 * 3600


@dataclass(frozen=True)
class Options:
    """What a hub's operator decides. 0 stands for no limit.

    `invites`: a user needs a one-time token to register. `hosts`: of one user. `registrations`: a day, from
    one network (an IPv4 /24, an IPv6 /48). `operations`: of one identity, whose whole chain is verified again
    before anything is stated about it.
    """

    invites: bool = False
    hosts: int = 1000
    registrations: int = 1000
    operations: int = 200


def network(address: str) -> str:
    """The network that an address is counted with, an IPv4 /24 or an IPv6 /48; "" for what is no address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return str(ipaddress.ip_network(f"{ip}/{24 if ip.version == 4 else 48}", strict=False))


def check_hosts(work: Work, options: Options, owner: str) -> None:
    """Whether the user with the genesis `owner` may have one more host.

    Raises: QuotaError.
    """
    if options.hosts and registry.owned(work, owner) >= options.hosts:
        raise QuotaError(f"this user has {options.hosts} hosts, which is all that this hub allows")


def count_registration(work: Work, options: Options, source: str, now: datetime) -> None:
    """Count one registration from `source`, in its transaction.

    Raises: QuotaError.
    """
    prefix, seconds = network(source), int(now.timestamp())
    if not prefix or not options.registrations:
        return
    day = seconds // DAY
    work.run("delete from registrations where day < ?", day)
    row = work.one(
        "insert into registrations (prefix, day, count) values (?, ?, 1) "
        "on conflict (prefix, day) do update set count = registrations.count + 1 returning count",
        prefix, day,
    )  # fmt: skip
    if row and int(row[0]) > options.registrations:
        raise QuotaError(
            f"{options.registrations} registrations from the network {prefix} in a day, which is all that "
            "this hub allows",
            retry_after=DAY - seconds % DAY,
        )


def check_operations(options: Options, count: int) -> None:
    """Whether an identity with `count` operations may have one more.

    Raises: QuotaError.
    """
    if options.operations and count >= options.operations:
        raise QuotaError(f"this identity has {count} operations, which is all that this hub allows")
