"""`ampzero nat` as it is typed, in a house with a real gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nat_support import OUTSIDE, House, Inside, house, needs_miniupnpc, why_not

REASON = why_not()
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(REASON), reason=REASON)]


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[House]:
    """A house whose router maps no ports yet."""
    with house(tmp_path) as made:
        yield made


@pytest.fixture
def home(bare: House) -> House:
    """A house whose router maps ports."""
    bare.open_gateway()
    return bare


def test_the_gateway_is_found_and_nothing_is_mapped(home: House) -> None:
    done = Inside(home)("nat", "test")
    assert done.code == 0, done
    assert "10.77.0.1 by eth0  PCP      5.5.5.5" in done.out
    assert "10.77.0.1 by eth0  NAT-PMP  5.5.5.5" in done.out
    assert "a port can be mapped by PCP; the world sees 5.5.5.5" in done.out
    log = (home.folder / "miniupnpd.log").read_text()
    assert "added mapping" not in log
    assert "AddPortMapping" not in log


def test_a_random_port_is_mapped_and_removed(home: House) -> None:
    told = Inside(home).told("nat", "test", "--map")
    assert told["mapping"]["external_address"] == OUTSIDE
    assert told["mapping"]["external_port"] >= 49152
    assert told["possible"] is True
    assert "added mapping" in (home.folder / "miniupnpd.log").read_text()
    assert not home.mapped()


@needs_miniupnpc
def test_upnp_alone(bare: House) -> None:
    bare.open_gateway(without="enable_natpmp")
    done = Inside(bare)("nat", "test", "--map")
    assert done.code == 0, done
    assert "by UPnP for 120 s, and removed it again" in done.out
    assert "the gateway 10.77.0.1 does not offer it" in done.out
    assert not bare.mapped()


def test_no_gateway_answers(bare: House) -> None:
    done = Inside(bare)("nat", "test")
    assert done.code == 12
    assert "no gateway here maps ports" in done.out


def test_no_way_out(bare: House) -> None:
    bare.ip("lan", "route del default")
    done = Inside(bare)("nat", "test", "--map")
    assert (done.code, done.out) == (12, "this machine has no default route\n")


def test_double_nat(tmp_path: Path) -> None:
    with house(tmp_path, "100.64.9.5") as home:
        home.open_gateway()
        told = Inside(home).told("nat", "test", "--map")
        assert told["mapping"]["reachable"] is False
        assert "double NAT" in told["mapping"]["problem"]
        assert not home.mapped()


def test_a_public_address_of_our_own(bare: House) -> None:
    bare.ip("lan", "addr add 5.6.7.8/24 dev eth0", "route replace default via 5.6.7.1")
    done = Inside(bare)("nat", "test")
    assert (done.code, done.out) == (0, "no NAT: nothing to map\n")


def test_an_instance_that_does_not_run(bare: House, make_instance: Any) -> None:
    done = Inside(bare)("nat", "status", make_instance("services: {web: {command: sleep 60}}"))
    assert done.code == 10
