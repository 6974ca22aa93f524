"""A keeper of a mapping: renewed, made again where the gateway changes, remembered, and removed at last."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from fake_gateway import Entry, FakeGateway, serving
from nat_support import QUICK, WAYS, keeping
from support import wait_for

from lib.nat.mapping import Mapping
from lib.nat.memory import MemoryFile


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
