"""The hosts of an environment: which are connected."""

from __future__ import annotations

from deploy.environment import Host
from deploy.fleet import Caller, Fleet
from lib.deployview import PlainView
from lib.errors import UnreachableError


def test_a_host_that_was_not_named_is_not_touched() -> None:
    """`deploy --setup --host two` would have installed Python on `one`, too."""
    opened: list[str] = []

    def opener(host: Host) -> Caller:
        opened.append(host.name)
        raise UnreachableError(f"{host.name}: no")

    hosts = [Host(name, f"root@{name}") for name in ("one", "two")]
    with Fleet(hosts, opener, PlainView()) as fleet:
        assert fleet.connect(["two"]) == []
        assert opened == ["two"]
        assert [member.name for member in fleet.lost] == ["two"]
        fleet.connect()
        assert sorted(opened) == ["one", "two", "two"]
