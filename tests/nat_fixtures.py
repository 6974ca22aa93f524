"""Gateways of the loopback for the tests of mapping ports, and where a keeper remembers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_gateway import FakeGateway, serving


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
