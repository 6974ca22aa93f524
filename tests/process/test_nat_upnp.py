"""A keeper and a gateway with UPnP alone, with each quirk that real ones have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fake_gateway import Entry, FakeGateway
from nat_support import QUICK, keeping, needs_miniupnpc
from support import wait_for

from lib.nat.errors import ConflictError, GatewayError
from lib.nat.mapping import Mapping
from lib.nat.method import Wish
from lib.nat.ports import candidates
from lib.nat.upnpclient import UpnpClient

pytestmark = needs_miniupnpc


@pytest.mark.parametrize("code", [725, 402])
def test_a_gateway_without_leases_gets_a_permanent_mapping(upnp: FakeGateway, state: Path, code: int) -> None:
    upnp.error = code
    with keeping(upnp, state) as at_work:
        assert at_work.wait() == Mapping("UPnP", "5.5.5.5", 8043, 8043, 0, True)
        assert upnp.table[8043].lease == 0
    assert not upnp.table  # removed on exit: nothing else would end it


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


def test_at_most_ten_other_ports_are_asked_for(upnp: FakeGateway, state: Path) -> None:
    upnp.everything_refused = True
    with keeping(upnp, state, pace=replace(QUICK, retry=100, longest=100)) as at_work:
        told = at_work.wait()
    assert (told.external_port, told.reachable) == (0, None)
    assert "another's" in told.problem
    assert [port for what, port in upnp.asked if what == "AddPortMapping"] == candidates("host-7", 8043)


def test_another_machines_mapping_is_passed_by(upnp: FakeGateway, state: Path) -> None:
    theirs = Entry("127.0.0.50", 8043, "ampzero host-9")
    upnp.table[8043] = theirs
    with keeping(upnp, state) as at_work:
        assert at_work.wait().external_port == candidates("host-7", 8043)[1]
    assert upnp.table == {8043: theirs}
    assert ("AddPortMapping", 8043) not in upnp.asked


def test_another_instance_of_this_machine_keeps_its_mapping(upnp: FakeGateway, state: Path) -> None:
    theirs = Entry("127.0.0.1", 9043, "ampzero host-9")
    upnp.table[8043] = theirs
    with keeping(upnp, state) as at_work:
        assert at_work.wait().external_port == candidates("host-7", 8043)[1]
    assert upnp.table == {8043: theirs}


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


def test_a_gateway_that_says_yes_and_maps_nothing_is_seen_through(upnp: FakeGateway, state: Path) -> None:
    upnp.lies = True
    with keeping(upnp, state) as at_work:
        told = at_work.wait()
        assert (told.external_port, told.reachable) == (0, None)
        assert "says that it has mapped the external port 8043, and has not" in told.problem


def test_a_mapping_that_leads_elsewhere_is_not_ours(upnp: FakeGateway) -> None:
    upnp.takes_over = True
    method = UpnpClient(upnp.gateway, "host-7")
    method.find()
    with pytest.raises(ConflictError, match=r"40000 leads to 127\.0\.0\.77:1"):
        method.map(Wish(8043, 40000, 3600))


def test_a_gateway_without_descriptions_still_gives_our_mapping_back(upnp: FakeGateway, state: Path) -> None:
    upnp.forgets_descriptions = True
    with keeping(upnp, state) as at_work:
        at_work.wait()
    assert not upnp.table


def test_who_says_to_be_a_gateway_from_elsewhere_is_not_believed(upnp: FakeGateway) -> None:
    gateway = replace(upnp.gateway, address="127.0.0.9")
    with pytest.raises(GatewayError, match=r"127\.0\.0\.1 says that it is a gateway, and 127\.0\.0\.9 is"):
        UpnpClient(gateway, "host-7").find()


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
