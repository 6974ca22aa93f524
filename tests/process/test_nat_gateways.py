"""A keeper and gateways with every quirk that real ones have, over real sockets of the loopback."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
from fake_gateway import Entry, FakeGateway
from nat_support import WAYS, keeping, needs_miniupnpc

from lib.nat import discovery
from lib.nat.errors import ConflictError, GatewayError
from lib.nat.gateway import Gateway
from lib.nat.method import Grant, Method, Wish
from lib.nat.natpmpclient import NatPmpClient
from lib.nat.pcpclient import PcpClient
from lib.nat.upnpclient import UpnpClient
from lib.nat.worker import Worker


def way(name: str, gateway: Gateway, owner: str = "host-7") -> Method:
    """That method, as a keeper makes it."""
    return next(one for one in discovery.methods([gateway], owner, b"n" * 12, Worker()) if one.name == name)


# --- what every way must do ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WAYS)
def test_every_way_maps_keeps_and_removes(fake: FakeGateway, name: str) -> None:
    method = way(name, fake.gateway)
    method.find()
    assert method.external_address() == "5.5.5.5"
    grant = method.map(Wish(8043, 40000, 3600))
    assert grant == Grant(8043, "5.5.5.5", 40000, 3600)
    assert (fake.table[40000].address, fake.table[40000].port) == ("127.0.0.1", 8043)
    assert method.is_intact(grant)
    assert method.map(Wish(8043, 40000, 3600, was_ours=True)) == grant
    method.unmap(grant)
    assert not fake.table


@pytest.mark.parametrize("name", WAYS)
def test_a_mapping_of_another_machine_is_never_taken(fake: FakeGateway, name: str) -> None:
    theirs = Entry("127.0.0.50", 80, "theirs")
    fake.table[40000] = theirs
    method = way(name, fake.gateway)
    method.find()
    try:
        grant = method.map(Wish(8043, 40000, 3600))
        assert grant.external_port != 40000  # PCP and NAT-PMP give another one themselves
    except ConflictError as error:
        assert "127.0.0.50:80" in error.message
    assert fake.table[40000] is theirs
    method.unmap(Grant(8043, "5.5.5.5", 40000, 3600))
    assert fake.table == {40000: theirs}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("port", [0, -1, 65536, 70000])
def test_what_is_no_port_never_reaches_a_gateway(fake: FakeGateway, name: str, port: int) -> None:
    method = way(name, fake.gateway)
    method.find()
    fake.asked.clear()
    with pytest.raises(GatewayError, match="is not a port"):
        method.map(Wish(port, 40000, 3600))
    if name != "PCP":  # it may suggest any
        with pytest.raises(GatewayError, match="is not a port"):
            method.map(Wish(8043, port, 3600))
    assert not fake.table
    assert not [what for what, _ in fake.asked if what not in ("address", "GetSpecificPortMappingEntry")]


@pytest.mark.parametrize("name", WAYS)
def test_a_restart_is_seen(fake: FakeGateway, name: str) -> None:
    fake.booted -= 1000
    method = way(name, fake.gateway)
    method.find()
    grant = method.map(Wish(8043, 40000, 3600))
    assert method.is_intact(grant)
    fake.restart()
    assert not method.is_intact(grant)


@pytest.mark.parametrize("name", WAYS[1:])
def test_another_external_address_is_seen(fake: FakeGateway, name: str) -> None:
    method = way(name, fake.gateway)
    method.find()
    grant = method.map(Wish(8043, 40000, 3600))
    fake.address = "5.5.5.9"
    assert not method.is_intact(grant)
    assert method.map(Wish(8043, 40000, 3600, was_ours=True)).external_address == "5.5.5.9"


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("garbage", [b"x", b"\x02\x81" * 40, b"\0\x82" * 8, b"<xml", b"\xff" * 1400])
def test_garbage_is_an_error_in_a_line(fake: FakeGateway, name: str, garbage: bytes) -> None:
    fake.garbage = garbage
    method = way(name, fake.gateway)
    with pytest.raises(GatewayError) as caught:
        method.find()
    assert "\n" not in caught.value.message
    with pytest.raises(GatewayError):
        method.map(Wish(8043, 40000, 3600))


@pytest.mark.parametrize("name", WAYS[:2])
def test_an_answer_among_strange_datagrams_is_found(fake: FakeGateway, name: str) -> None:
    fake.before = [b"", b"\x02\x81" + bytes(58), b"\0\x82" + bytes(14), b"\xff" * 1300]
    method = way(name, fake.gateway)
    method.find()
    assert method.map(Wish(8043, 40000, 3600)).external_port == 40000


@pytest.mark.parametrize("name", WAYS[:2])
def test_a_flood_of_strange_datagrams_ends(fake: FakeGateway, name: str) -> None:
    fake.before = [b"\xff" * 60] * 200
    with pytest.raises(GatewayError, match="does not answer"):
        way(name, fake.gateway).find()


@pytest.mark.parametrize("name", WAYS[:2])
@pytest.mark.parametrize(("code", "says"), [(2, "does not allow"), (99, "result 99")])
def test_a_refusal_is_told_as_it_is(fake: FakeGateway, name: str, code: int, says: str) -> None:
    fake.result = code
    with pytest.raises(GatewayError, match=says):
        way(name, fake.gateway).map(Wish(8043, 40000, 3600))


def test_nobody_listens_at_the_gateway() -> None:
    gateway = Gateway("127.0.0.1", "127.0.0.1", port=1, description="http://127.0.0.1:1/")
    offers = discovery.discover(discovery.methods([gateway], "host-7", bytes(12), Worker()))
    assert not any(offer.answered for offer in offers)
    assert "no gateway here maps ports (PCP: the gateway 127.0.0.1 does not offer it; " in discovery.silence(
        offers
    )


# --- PCP and NAT-PMP ----------------------------------------------------------------------------------------


def test_pcp_with_another_nonce_may_not_touch_a_mapping(udp: FakeGateway) -> None:
    grant = PcpClient(udp.gateway, b"a" * 12).map(Wish(8043, 40000, 3600))
    with pytest.raises(GatewayError, match="does not allow"):
        PcpClient(udp.gateway, b"b" * 12).unmap(grant)
    assert 40000 in udp.table


def test_pcp_learns_the_address_by_a_mapping_that_leads_nowhere(udp: FakeGateway) -> None:
    assert PcpClient(udp.gateway, b"a" * 12).external_address() == "5.5.5.5"
    assert udp.asked == [("pcp-udp", 0), ("pcp-udp", -9)]


def test_a_gateway_without_pcp_says_so_at_once(udp: FakeGateway) -> None:
    udp.pcp = False
    with pytest.raises(GatewayError, match="NAT-PMP and not PCP"):
        PcpClient(udp.gateway, b"a" * 12).find()
    assert NatPmpClient(udp.gateway).find() == "5.5.5.5"


def test_a_mapping_for_no_time_is_none(udp: FakeGateway) -> None:
    udp.longest = 0
    for name in ("PCP", "NAT-PMP"):
        with pytest.raises(GatewayError, match="no time at all"):
            way(name, udp.gateway).map(Wish(8043, 40000, 3600))


@needs_miniupnpc
def test_a_slow_gateway_delays_nobody_else(
    fake: FakeGateway, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.delay = 1.5
    with keeping(fake, state) as at_work:
        assert at_work.wait().method == "PCP"


def test_a_call_that_never_ends_is_left_and_no_second_one_begun() -> None:
    worker, gate = Worker(), threading.Event()
    with pytest.raises(GatewayError, match="no answer"):
        worker.call(gate.wait, 0.05)
    with pytest.raises(GatewayError, match="no answer"):
        worker.call(lambda: pytest.fail("two at once"), 0.05)
    gate.set()
    assert worker.call(lambda: 7, 10) == 7


def test_what_a_call_raises_comes_out() -> None:
    with pytest.raises(ZeroDivisionError):
        Worker().call(lambda: 1 // 0, 10)


def test_without_miniupnpc_the_other_ways_work(
    fake: FakeGateway, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "miniupnpc", None)  # as where there is no wheel for this Python
    with pytest.raises(GatewayError, match=r"needs the library miniupnpc \(ampzero\[nat\]\)"):
        UpnpClient(fake.gateway, "host-7").find()
    with keeping(fake, state) as at_work:
        assert at_work.wait().method == "PCP"
