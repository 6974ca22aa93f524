"""Asking a member of the keyspace what it knows of all members; it changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from deploy.fleet import Fleet
from deploy.keyspace import EtcdMember
from lib.errors import RefusedError

TIME = 20.0


def etcd_members(fleet: Fleet) -> Callable[[str], list[EtcdMember]]:
    """What asks the host of a name; that raises AmpzeroError."""

    def ask(name: str) -> list[EtcdMember]:
        member = next(each for each in fleet.alive if each.name == name)
        try:
            return msgspec.convert(member.call("keyspace", timeout=TIME).get("members"), list[EtcdMember])
        except msgspec.ValidationError as error:
            raise RefusedError(f"{name}: its agent's answer makes no sense: {error}") from error

    return ask
