"""A keeper and gateways with every quirk that real ones have, over real sockets of the loopback."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_gateway import Entry, FakeGateway, serving
from nat_support import QUICK, keeping
from support import wait_for

from lib.nat import discovery
from lib.nat.errors import ConflictError, GatewayError
from lib.nat.gateway import Gateway
from lib.nat.mapping import Mapping
from lib.nat.memory import MemoryFile
from lib.nat.method import Grant, Method, Wish
from lib.nat.natpmpclient import NatPmpClient
from lib.nat.pcpclient import PcpClient
from lib.nat.ports import candidates
from lib.nat.upnpclient import UpnpClient
from lib.nat.worker import Worker

needs_miniupnpc = pytest.mark.skipif(sys.version_info >= (3, 14), reason="miniupnpc has no wheel for 3.14")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state/nat.json"


@pytest.fixture
def fake() -> Iterator[FakeGateway]:
    """PCP, NAT-PMP and UPnP."""
    with serving(FakeGateway()) as made:
        yield made


@pytest.fixture
def upnp() -> Iterator[FakeGateway]:
    """UPnP alone: nobody listens for the others."""
    with serving(FakeGateway(), udp=False) as made:
        made.gateway = replace(made.gateway, port=1)
        yield made


@pytest.fixture
def udp() -> Iterator[FakeGateway]:
    """PCP and NAT-PMP alone."""
    with serving(FakeGateway(), upnp=False) as made:
        yield made


WAYS = ["PCP", "NAT-PMP", pytest.param("UPnP", marks=needs_miniupnpc)]


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


# --- UPnP's quirks ------------------------------------------------------------------------------------------


@needs_miniupnpc
@pytest.mark.parametrize("code", [725, 402])
def test_a_gateway_without_leases_gets_a_permanent_mapping(upnp: FakeGateway, state: Path, code: int) -> None:
    upnp.error = code
    with keeping(upnp, state) as at_work:
        assert at_work.wait() == Mapping("UPnP", "5.5.5.5", 8043, 8043, 0, True)
        assert upnp.table[8043].lease == 0
    assert not upnp.table  # removed on exit: nothing else would end it


@needs_miniupnpc
def test_on_718_the_hosts_own_other_ports_are_asked_for(upnp: FakeGateway, state: Path) -> None:
    asked = candidates("host-7", 8043)
    upnp.refused = set(asked[:4])
    with keeping(upnp, state) as at_work:
        assert at_work.wait().external_port == asked[4]
    adds = [port for what, port in upnp.asked if what == "AddPortMapping"]
    assert adds[:5] == asked[:5]
    upnp.asked.clear()
    with keeping(upnp, state) as at_work:
        assert at_work.wait().external_port == asked[4]
    # Remembered, and so asked for first.
    assert next(port for what, port in upnp.asked if what == "AddPortMapping") == asked[4]


@needs_miniupnpc
def test_at_most_ten_other_ports_are_asked_for(upnp: FakeGateway, state: Path) -> None:
    upnp.everything_refused = True
    with keeping(upnp, state, pace=replace(QUICK, retry=100, longest=100)) as at_work:
        told = at_work.wait()
    assert (told.external_port, told.reachable) == (0, None)
    assert "another's" in told.problem
    assert [port for what, port in upnp.asked if what == "AddPortMapping"] == candidates("host-7", 8043)


@needs_miniupnpc
def test_another_machines_mapping_is_passed_by(upnp: FakeGateway, state: Path) -> None:
    theirs = Entry("127.0.0.50", 8043, "ampzero host-9")
    upnp.table[8043] = theirs
    with keeping(upnp, state) as at_work:
        assert at_work.wait().external_port == candidates("host-7", 8043)[1]
    assert upnp.table == {8043: theirs}
    assert ("AddPortMapping", 8043) not in upnp.asked


@needs_miniupnpc
def test_another_instance_of_this_machine_keeps_its_mapping(upnp: FakeGateway, state: Path) -> None:
    theirs = Entry("127.0.0.1", 9043, "ampzero host-9")
    upnp.table[8043] = theirs
    with keeping(upnp, state) as at_work:
        assert at_work.wait().external_port == candidates("host-7", 8043)[1]
    assert upnp.table == {8043: theirs}


@needs_miniupnpc
def test_a_mapping_that_the_owner_made_is_used_and_left(upnp: FakeGateway, state: Path) -> None:
    theirs = Entry("127.0.0.1", 8043, "set by hand")
    upnp.table[8043] = theirs
    for _ in range(2):
        with keeping(upnp, state) as at_work:
            assert at_work.wait() == Mapping("UPnP", "5.5.5.5", 8043, 8043, 0, True)
            checks = upnp.count("GetSpecificPortMappingEntry")
            assert wait_for(lambda: upnp.count("GetSpecificPortMappingEntry") > checks + 2)  # noqa: B023
        assert upnp.table == {8043: theirs}
    assert upnp.count("AddPortMapping") == upnp.count("DeletePortMapping") == 0


@needs_miniupnpc
def test_a_gateway_that_says_yes_and_maps_nothing_is_seen_through(upnp: FakeGateway, state: Path) -> None:
    upnp.lies = True
    with keeping(upnp, state) as at_work:
        told = at_work.wait()
        assert (told.external_port, told.reachable) == (0, None)
        assert "says that it has mapped the external port 8043, and has not" in told.problem


@needs_miniupnpc
def test_a_mapping_that_leads_elsewhere_is_not_ours(upnp: FakeGateway) -> None:
    upnp.takes_over = True
    method = UpnpClient(upnp.gateway, "host-7")
    method.find()
    with pytest.raises(ConflictError, match=r"40000 leads to 127\.0\.0\.77:1"):
        method.map(Wish(8043, 40000, 3600))


@needs_miniupnpc
def test_a_gateway_without_descriptions_still_gives_our_mapping_back(upnp: FakeGateway, state: Path) -> None:
    upnp.forgets_descriptions = True
    with keeping(upnp, state) as at_work:
        at_work.wait()
    assert not upnp.table


@needs_miniupnpc
def test_who_says_to_be_a_gateway_from_elsewhere_is_not_believed(upnp: FakeGateway) -> None:
    gateway = replace(upnp.gateway, address="127.0.0.9")
    with pytest.raises(GatewayError, match=r"127\.0\.0\.1 says that it is a gateway, and 127\.0\.0\.9 is"):
        UpnpClient(gateway, "host-7").find()


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


# --- keeping ------------------------------------------------------------------------------------------------


def test_pcp_is_taken_where_there_is_all(fake: FakeGateway, state: Path) -> None:
    with keeping(fake, state) as at_work:
        assert at_work.wait() == Mapping("PCP", "5.5.5.5", 8043, 8043, 3600, True)
    assert not fake.table
    assert ("pcp-udp", 0) not in fake.asked  # NAT-PMP has told the address


@pytest.mark.parametrize("address", ["192.168.1.2", "100.64.3.4", "10.1.1.1", "224.0.0.1"])
def test_double_nat_is_said_and_nothing_mapped(fake: FakeGateway, state: Path, address: str) -> None:
    fake.address = address
    with keeping(fake, state) as at_work:
        told = at_work.wait()
        assert told.reachable is False
        assert told.external_address == address
        assert told.external_port == 0
        assert told.problem.startswith("double NAT: ")
    assert not [one for one in fake.asked if one[0] in ("pcp-tcp", "natpmp", "AddPortMapping")]


def test_double_nat_is_seen_by_pcp_alone(udp: FakeGateway, state: Path) -> None:
    udp.natpmp, udp.address = False, "100.64.3.4"
    with keeping(udp, state) as at_work:
        assert at_work.wait().reachable is False
    assert not [one for one in udp.asked if one[0] == "pcp-tcp"]


def test_a_gateway_without_a_connection_is_said(fake: FakeGateway, state: Path) -> None:
    fake.address = "0.0.0.0"  # noqa: S104 -- nobody listens
    with keeping(fake, state) as at_work:
        told = at_work.wait()
        assert (told.reachable, told.external_port) == (False, 0)
        assert "no connection" in told.problem
        fake.address = "5.5.5.5"
        assert at_work.wait(2).reachable  # it has one again


def test_a_lease_is_renewed_at_its_half(udp: FakeGateway, state: Path) -> None:
    udp.natpmp, udp.longest = False, 2
    began = time.monotonic()
    with keeping(udp, state, pace=replace(QUICK, check=60)) as at_work:
        at_work.wait()
        assert wait_for(lambda: udp.asked.count(("pcp-tcp", 8043)) >= 3)
        assert time.monotonic() - began >= 1.5  # twice a second, and not as often as it can
    assert len(at_work.told) == 1  # nothing has changed for anybody


def test_after_a_restart_the_same_port_is_mapped_again(fake: FakeGateway, state: Path) -> None:
    fake.booted -= 1000
    with keeping(fake, state) as at_work:
        at_work.wait()
        fake.restart()
        assert wait_for(lambda: 8043 in fake.table)
    assert len(at_work.told) == 1


def test_after_a_restart_another_port_is_told(fake: FakeGateway, state: Path) -> None:
    fake.booted -= 1000
    with keeping(fake, state) as at_work:
        at_work.wait()
        fake.restart()
        fake.table[8043] = Entry("127.0.0.50", 1, "theirs")
        told = at_work.wait(2)
        assert told.external_port not in (0, 8043)
        assert told.reachable
    assert list(fake.table) == [8043]


def test_a_new_external_address_is_told(fake: FakeGateway, state: Path) -> None:
    fake.pcp = False
    with keeping(fake, state) as at_work:
        assert at_work.wait().external_address == "5.5.5.5"
        fake.address = "5.5.5.9"
        assert at_work.wait(2).external_address == "5.5.5.9"


def test_after_three_failures_another_way_is_found(udp: FakeGateway, state: Path) -> None:
    with keeping(udp, state) as at_work:
        assert at_work.wait().method == "PCP"
        udp.pcp = False
        assert at_work.wait(2).method == "NAT-PMP"
    assert not udp.table


def test_a_gateway_that_vanishes_is_told_and_found_again(udp: FakeGateway, state: Path) -> None:
    with keeping(udp, state) as at_work:
        at_work.wait()
        udp.garbage = b"gone"
        told = at_work.wait(2)
        assert (told.reachable, told.external_port) == (None, 0)
        assert "no gateway here maps ports" in told.problem
        udp.garbage = b""
        assert at_work.wait(3).reachable
    assert not udp.table


# --- what is remembered -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WAYS)
def test_what_a_killed_run_left_is_used_by_the_next(state: Path, name: str) -> None:
    with serving(FakeGateway(pcp=name == "PCP", natpmp=name == "NAT-PMP"), upnp=name == "UPnP") as fake:
        with keeping(fake, state) as at_work:
            told = at_work.wait()
            assert told.method == name
            left, remembered = dict(fake.table), state.read_bytes()
        fake.table.update(left)  # as after a SIGKILL: the file and the table as they were
        state.write_bytes(remembered)
        with keeping(fake, state) as at_work:
            assert at_work.wait() == told
            assert len(fake.table) == 1
        assert not fake.table


@pytest.mark.parametrize("name", WAYS)
def test_what_a_killed_run_left_for_another_port_is_removed(state: Path, name: str) -> None:
    with serving(FakeGateway(pcp=name == "PCP", natpmp=name == "NAT-PMP"), upnp=name == "UPnP") as fake:
        with keeping(fake, state, port=9043) as at_work:
            at_work.wait()
            left, remembered = dict(fake.table), state.read_bytes()
        fake.table.update(left)
        state.write_bytes(remembered)
        with keeping(fake, state, port=8043) as at_work:
            told = at_work.wait()
            assert (told.internal_port, told.external_port) == (8043, 9043)  # the world keeps its port
            assert [entry.port for entry in fake.table.values()] == [8043]
        assert not fake.table


def test_it_is_written_down_before_it_is_asked_for(udp: FakeGateway, state: Path) -> None:
    seen: list[bool] = []
    answer = udp.answer

    def spy(data: bytes) -> bytes | None:
        if data[:2] == b"\x02\x01":
            memory = MemoryFile(state).memory
            seen.append((memory.may_exist, memory.external_port, memory.method) == (True, 8043, "PCP"))
            assert bytes.fromhex(memory.nonce) == data[24:36]
        return answer(data)

    udp.answer = spy  # type: ignore[method-assign]  # looks, and answers as before
    with keeping(udp, state) as at_work:
        at_work.wait()
    assert seen
    assert all(seen)


@needs_miniupnpc
def test_what_cannot_be_removed_stays_remembered(upnp: FakeGateway, state: Path) -> None:
    upnp.error = 725
    with keeping(upnp, state) as at_work:
        at_work.wait()
        upnp.garbage = b"gone"
    assert json.loads(state.read_bytes())["may_exist"] is True
    upnp.garbage = b""
    with keeping(upnp, state) as at_work:
        at_work.wait()
    assert not upnp.table


def test_a_full_disk_costs_the_memory_and_not_the_mapping(udp: FakeGateway, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with keeping(udp, blocked / "nat.json") as at_work:
        assert at_work.wait().reachable
    assert not udp.table


def test_closing_ends_the_run_from_any_thread(udp: FakeGateway, state: Path) -> None:
    with keeping(udp, state, pace=replace(QUICK, check=600)) as at_work:
        at_work.wait()
        at_work.keeper.close()
        assert not udp.table
        at_work.keeper.close()
    assert udp.asked.count(("pcp-tcp", -8043)) == 1
