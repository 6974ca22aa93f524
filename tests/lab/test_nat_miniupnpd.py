"""A keeper and real miniupnpd on a router of nftables: a machine in a house, the router, and one outside."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nat_support import (
    INSIDE,
    INSIDE6,
    NEIGHBOUR,
    OUTSIDE,
    House,
    find,
    house,
    needs_miniupnpc,
    program,
    why_not,
)
from support import wait_for

REASON = why_not()
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(REASON), reason=REASON)]

ANSWERS = """
import socket
s = socket.create_server(("::", {port}), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    c, sender = s.accept()
    c.sendall(b"{word} " + sender[0].removeprefix("::ffff:").encode())
    c.close()
"""
ASKS = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 2) as c:
        print(c.recv(100).decode())
except OSError as error:
    print("none:", error)
"""
UPNP_ONLY = "enable_natpmp"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    """A house whose router maps ports."""
    with house(tmp_path) as made:
        made.open_gateway()
        yield made


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[House]:
    """A house whose router does not yet."""
    with house(tmp_path) as made:
        yield made


def from_outside(home: House, port: int, address: str = OUTSIDE) -> str:
    """What somebody in `wan` gets who dials that port."""
    return home.must("wan", sys.executable, "-c", ASKS, address, str(port)).strip()


@contextmanager
def answering(home: House) -> Iterator[None]:
    """Something listens on our port 8043."""
    server = home.start("lan", sys.executable, "-c", ANSWERS.format(port=8043, word="ours"))
    try:
        assert wait_for(lambda: f":{8043:04X} " in home.run("lan", "cat", "/proc/net/tcp6").stdout)
        yield
    finally:
        server.kill()
        server.wait(60)


@pytest.fixture(params=["PCP", pytest.param("UPnP", marks=needs_miniupnpc)])
def either(request: pytest.FixtureRequest, bare: House) -> tuple[House, str]:
    """A router that offers all, and one with UPnP alone."""
    bare.open_gateway(without=UPNP_ONLY if request.param == "UPnP" else "")
    return bare, request.param


def test_the_world_reaches_the_port_while_it_is_kept_and_not_after(home: House, state: Path) -> None:
    assert from_outside(home, 8043).startswith("none")
    with answering(home), program(home, state) as keeper:
        assert keeper.wait() == {
            "method": "PCP", "external_address": OUTSIDE, "external_port": 8043, "internal_port": 8043,
            "lease": 3600, "reachable": True, "problem": "",
        }  # fmt: skip
        assert from_outside(home, 8043) == "ours 5.5.5.6"
        assert keeper.end() == 0
        assert not home.mapped()
        assert from_outside(home, 8043).startswith("none")


def test_the_world_gets_through_an_ipv6_gateway_where_the_ipv4_one_is_behind_another_nat(
    tmp_path: Path, state: Path
) -> None:
    with house(tmp_path, "100.64.9.5") as home:
        home.speak_ipv6()
        home.open_gateway("ext_ifname6=outside", "ipv6_disable=no")
        with answering(home):
            assert from_outside(home, 8043, INSIDE6).startswith("none")
            with program(home, state) as keeper:
                told = keeper.wait()
                assert (told["method"], told["external_address"]) == ("PCP", INSIDE6)
                assert (told["external_port"], told["reachable"]) == (8043, True)
                assert from_outside(home, 8043, INSIDE6) == "ours 2a00:55::6"
                assert keeper.end() == 0
            assert from_outside(home, 8043, INSIDE6).startswith("none")


def test_sigterm_while_it_still_looks_for_a_gateway_leaves_nothing(home: House, state: Path) -> None:
    with program(home, state) as keeper:
        log = home.folder / "miniupnpd.log"
        assert wait_for(lambda: "request received" in log.read_text())
        assert keeper.end(signal.SIGTERM) == 0
    assert not home.mapped()


def test_sigterm_removes_the_mapping(either: tuple[House, str], state: Path) -> None:
    home, method = either
    with program(home, state) as keeper:
        assert keeper.wait()["method"] == method
        assert len(home.mapped()) == 1
        assert keeper.end(signal.SIGTERM) == 0
    assert not home.mapped()


def test_what_sigkill_left_is_used_again_and_removed(either: tuple[House, str], state: Path) -> None:
    home, _ = either
    with program(home, state) as keeper:
        told = keeper.wait()
        keeper.end(signal.SIGKILL)
    left = home.mapped()
    assert len(left) == 1
    with program(home, state) as keeper:
        assert keeper.wait() == told
        assert home.mapped() == left
        keeper.end()
    assert not home.mapped()


def test_what_sigkill_left_for_another_port_is_removed(either: tuple[House, str], state: Path) -> None:
    home, _ = either
    with program(home, state, port=9043) as keeper:
        keeper.wait()
        keeper.end(signal.SIGKILL)
    with program(home, state, port=8043) as keeper:
        assert keeper.wait()["external_port"] == 9043
        (line,) = home.mapped()
        assert line.endswith(f"dnat ip to {INSIDE}:8043")
        keeper.end()
    assert not home.mapped()


def test_nat_pmp_alone(bare: House, state: Path) -> None:
    # miniupnpd answers both on one port; a rule of the house lets no PCP through (its first byte is 2).
    bare.open_gateway("enable_upnp=no", without="enable_upnp")
    rules = "add table inet cut; add chain inet cut in { type filter hook input priority 0; }"
    bare.must("router", find("nft"), f"{rules}; add rule inet cut in udp dport 5351 @th,64,8 2 drop")
    with program(bare, state) as keeper:
        told = keeper.wait()
        assert (told["method"], told["external_address"], told["external_port"]) == ("NAT-PMP", OUTSIDE, 8043)
        assert len(bare.mapped()) == 1
        keeper.end()
    assert not bare.mapped()


def test_the_gateways_restart_loses_the_mapping_and_it_is_made_again(
    either: tuple[House, str], state: Path
) -> None:
    home, method = either
    with program(home, state) as keeper:
        keeper.wait()
        # Of a gateway that ran for two seconds the epoch tells no restart (RFC 6887, section 8.5).
        assert wait_for(lambda: time.monotonic() - home.opened > 6)
        home.close_gateway()
        home.flush()
        assert not home.mapped()
        home.open_gateway(without=UPNP_ONLY if method == "UPnP" else "")
        assert wait_for(home.mapped, 40)
        keeper.end()
    assert not home.mapped()


@pytest.mark.slow
def test_a_lease_is_renewed_before_it_ends(bare: House, state: Path) -> None:
    # By default miniupnpd gives no lease below 120 s.
    bare.open_gateway("min_lifetime=5", "max_lifetime=6")
    with program(bare, state, times=(6, 60, 1)) as keeper:
        assert keeper.wait()["lease"] == 6
        log = bare.folder / "miniupnpd.log"
        before = log.read_text().count("60bytes")  # as long as a request for a mapping
        assert wait_for(lambda: log.read_text().count("60bytes") >= before + 2)
        assert wait_for(lambda: len(bare.mapped()) == 1)
        keeper.end()
    assert not bare.mapped()


def become(home: House, address: str) -> None:
    """Let the machine in `lan` be the one with this address."""
    home.ip(
        "lan", "addr flush dev eth0", f"addr add {address}/24 dev eth0", "route add default via 10.77.0.1"
    )


def test_the_neighbours_mapping_is_left_alone(either: tuple[House, str], state: Path) -> None:
    home, _ = either
    become(home, NEIGHBOUR)
    with program(home, state.with_name("neighbour.json"), host="host-9") as other:
        assert other.wait()["external_port"] == 8043
        other.end(signal.SIGKILL)
    (theirs,) = home.mapped()
    become(home, INSIDE)
    with program(home, state) as keeper:
        assert keeper.wait()["external_port"] not in (0, 8043)
        assert len(home.mapped()) == 2
        keeper.end()
    assert home.mapped() == [theirs]


@pytest.mark.parametrize("outside", ["192.168.9.5", "100.64.9.5"])
def test_a_second_nat_is_said_and_nothing_is_mapped(tmp_path: Path, state: Path, outside: str) -> None:
    with house(tmp_path, outside) as home:
        home.open_gateway()
        with program(home, state) as keeper:
            told = keeper.wait()
            assert told["reachable"] is False
            # miniupnpd names no private address: it says that it had none.
            assert told["problem"].startswith("double NAT")
            keeper.end()
        assert not home.mapped()


def test_a_router_without_a_connection_is_said(home: House, state: Path) -> None:
    home.ip("router", "addr flush dev outside")
    with program(home, state) as keeper:
        told = keeper.wait()
        assert (told["reachable"], told["external_port"]) == (False, 0)
        assert "no connection" in told["problem"]
        keeper.end()
    assert not home.mapped()


def test_a_machine_that_moves_to_another_network_asks_there(home: House, state: Path) -> None:
    with program(home, state) as keeper:
        keeper.wait()
        home.ip("lan", "route del default")
        told = keeper.wait(2)
        assert (told["reachable"], told["problem"]) == (None, "this machine has no default route")
        home.ip("lan", "route add default via 10.77.0.1")
        assert keeper.wait(3)["reachable"]
        keeper.end()
    assert not home.mapped()


def test_a_machine_with_a_public_address_asks_nobody(home: House, state: Path) -> None:
    home.ip("wan", "route add default via 5.5.5.5")
    with program(home, state, namespace="wan") as keeper:
        told = keeper.wait()
        assert (told["method"], told["external_address"], told["external_port"]) == (
            "direct",
            "5.5.5.6",
            8043,
        )
        assert told["reachable"] is None  # a wall may stand there, and nobody has dialled
        assert keeper.end() == 0
    assert "request received" not in (home.folder / "miniupnpd.log").read_text()


ROGUE = """
import pathlib, socket, sys, threading
web = socket.create_server(("10.77.0.3", 0))
def visited():
    web.accept()
    pathlib.Path(sys.argv[1], "visited").touch()
threading.Thread(target=visited, daemon=True).start()
ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
ear.bind(("239.255.255.250", 1900))
ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
               socket.inet_aton("239.255.255.250") + socket.inet_aton("10.77.0.2"))
mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
mouth.bind(("10.77.0.3", 1900))
pathlib.Path(sys.argv[1], "ready").touch()
while True:
    _, sender = ear.recvfrom(2048)
    where = f"http://10.77.0.3:{web.getsockname()[1]}/d.xml"
    mouth.sendto(f"HTTP/1.1 200 OK\\r\\nLocation: {where}\\r\\n\\r\\n".encode(), sender)
    pathlib.Path(sys.argv[1], "answered").touch()
"""
"""A device of the network that says it were a gateway, and answers before the gateway does."""


@needs_miniupnpc
def test_another_device_that_says_it_were_a_gateway_is_not_even_visited(
    bare: House, state: Path, tmp_path: Path
) -> None:
    bare.open_gateway(without=UPNP_ONLY)
    bare.ip("lan", f"addr add {NEIGHBOUR}/24 dev eth0")
    device = bare.start("lan", sys.executable, "-c", ROGUE, tmp_path)
    try:
        assert wait_for((tmp_path / "ready").exists)
        with program(bare, state) as keeper:
            assert keeper.wait()["method"] == "UPnP"
            keeper.end()
        assert (tmp_path / "answered").exists()
        assert not (tmp_path / "visited").exists()
    finally:
        device.kill()
        device.wait(60)
