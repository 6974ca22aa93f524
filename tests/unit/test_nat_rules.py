"""What the keeper goes by: default routes, judged addresses, epochs, ports, and what it remembers."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.nat import ports
from lib.nat.address import is_public, judge
from lib.nat.discovery import Offer, in_order
from lib.nat.epoch import Epoch
from lib.nat.errors import GatewayError
from lib.nat.gateway import Gateway, Route, gateways, routes4, routes6
from lib.nat.memory import MemoryFile
from lib.nat.natpmpclient import NatPmpClient
from lib.nat.pcpclient import PcpClient

ROUTE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t01004D0A\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t00004D0A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
eth1\t00000000\t01004E0A\t0002\t0\t0\t1\t00000000\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0
"""
ROUTE6 = """\
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 20010db8000000000000000000000001 00000100 00000001 00000000 00000003     eth1
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
"""  # noqa: E501 -- as the kernel writes it


def test_default_routes_are_read_and_the_others_are_not() -> None:
    # eth1's is not up, and tun0's leads to no gateway.
    found = sorted(routes4(ROUTE))
    assert found == [Route(100, "eth0", "10.77.0.1"), Route(600, "wlan0", "192.168.1.1")]


def test_ipv6_default_routes_carry_their_interface_where_they_need_it() -> None:
    found = sorted(routes6(ROUTE6))
    assert found == [Route(0x100, "eth1", "2001:db8::1"), Route(0x400, "eth0", "fe80::1%eth0")]


def test_without_a_table_of_routes_there_is_no_gateway(tmp_path: Path) -> None:
    assert gateways(tmp_path) == []
    (tmp_path / "route").write_bytes(b"\xff\xfe garbage")
    assert gateways(tmp_path) == []


@given(st.text(alphabet="0F1\t x\n", max_size=300))
def test_any_table_of_routes_is_read(text: str) -> None:
    list(routes4("head\n" + text))
    list(routes6(text))


@pytest.mark.parametrize(("address", "says"), [
    ("5.5.5.5", ""), ("2a00:1450::1", ""), ("::ffff:5.5.5.5", ""),
    ("192.168.1.2", "double NAT"), ("10.0.0.1", "double NAT"), ("172.16.3.4", "double NAT"),
    ("100.64.0.1", "100.64.0.0/10"), ("100.127.255.254", "100.64.0.0/10"),
    ("::ffff:100.64.0.1", "100.64.0.0/10"),
    ("127.0.0.1", "double NAT"), ("169.254.1.1", "double NAT"), ("224.0.0.1", "double NAT"),
    ("239.1.2.3", "double NAT"), ("240.0.0.1", "double NAT"), ("255.255.255.255", "double NAT"),
    ("192.0.2.1", "double NAT"), ("fd00::1", "double NAT"), ("fe80::1", "double NAT"),
    ("ff02::1", "double NAT"),
    ("0.0.0.0", "no connection"), ("::", "no connection"),  # noqa: S104 -- nobody listens
])  # fmt: skip
def test_an_external_address_is_judged(address: str, says: str) -> None:
    assert says in judge(address)
    assert bool(says) == bool(judge(address))  # a public one has no fault


@pytest.mark.parametrize("text", ["", "garbage", "5.5.5.5.5", "5.5.5.5\n", "05.5.5.5", "1" * 1000])
def test_an_external_address_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(GatewayError, match="external address is none"):
        judge(text)


def test_our_own_address_can_be_public() -> None:
    assert is_public("5.5.5.5")
    assert not is_public("10.0.0.2")
    assert not is_public("2a00::1")
    assert not is_public("fe80::1%eth0")


@pytest.mark.parametrize(("elapsed", "told", "same"), [
    (60, 160, True), (60, 158, True), (60, 157, True), (60, 0, False), (60, 100, False), (0, 99, True),
    (0, 98, False), (3600, 3500, True), (3600, 3300, False), (3600, 3930, True), (3600, 4200, False),
])  # fmt: skip
def test_an_epoch_tells_of_a_restart(elapsed: float, told: int, same: bool) -> None:
    now = [1000.0]
    epoch = Epoch(lambda: now[0])
    assert epoch.see(100)
    now[0] += elapsed
    assert epoch.see(told) == same
    assert epoch.see(told)  # from there it goes on


@pytest.mark.parametrize("port", [0, -1, 65536, 70000])
def test_what_is_no_port_is_never_asked_for(port: int) -> None:
    with pytest.raises(GatewayError, match="is not a port"):
        ports.check(port)


@given(host=st.text(max_size=40), wanted=st.integers(1, 65535))
def test_ten_other_ports_are_the_hosts_own(host: str, wanted: int) -> None:
    asked = ports.candidates(host, wanted)
    assert asked == ports.candidates(host, wanted)
    assert asked[0] == wanted
    assert len(asked) == len(set(asked)) == 11
    assert all(49152 <= ports.check(port) <= 65535 for port in asked[1:])


def test_two_hosts_ask_for_different_ports() -> None:
    assert ports.candidates("host-7", 1)[:4] != ports.candidates("host-8", 1)[:4]


def test_good_offers_come_first_and_the_remembered_way_before_them() -> None:
    gateway = Gateway("10.0.0.1", "10.0.0.2")
    pcp, other = PcpClient(gateway, bytes(12)), NatPmpClient(gateway)
    silent = Offer(pcp, problem="no answer", answered=False)
    double, good = Offer(other, "10.1.1.1", "double NAT"), Offer(other, "5.5.5.5")
    assert in_order([silent, double]) == [double]
    assert in_order([double, good]) == [good]
    assert in_order([Offer(pcp), good]) == [Offer(pcp), good]
    assert in_order([Offer(pcp), good], "NAT-PMP") == [good, Offer(pcp)]
    assert in_order([silent]) == []


def test_what_was_remembered_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "state/nat.json"
    memory = MemoryFile(path)
    memory.remember(method="PCP", external_port=40000, internal_port=8043, may_exist=True)
    assert MemoryFile(path).memory == memory.memory
    assert stat.S_IMODE(path.stat().st_mode) == 0o600  # the nonce lets its holder change the mapping


@pytest.mark.parametrize("damage", [
    b"", b"garbage", b"[]", b"{", b"[" * 60_000, b'{"external_port": 70000}',
    b'{"nonce": "zz"}', b'{"nonce": "00"}', b'{"method": 1}', b'{"external_port": "many"}',
    b"\xff" * 100, json.dumps({"method": "x" * 70_000}).encode(),
])  # fmt: skip
def test_a_damaged_memory_is_an_empty_one(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "nat.json"
    path.write_bytes(damage)
    memory = MemoryFile(path).memory
    assert (memory.external_port, memory.may_exist, len(memory.nonce)) == (0, False, 24)
