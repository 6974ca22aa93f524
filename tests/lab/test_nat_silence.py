"""Not one packet: what an instance sends, caught at the other end of its machine's cable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from nat_support import OUTSIDE, House, Inside, house, why_not
from packet_capture import captured
from support import unused_port, wait_for

REASON = why_not()
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(REASON), reason=REASON)]

MAPPED = "contact: {enabled: true, nat: true}\n"
"""In amprun.yaml: a port is to be mapped although the hub is on this machine."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house whose gateway waits to be asked."""
    with house(tmp_path_factory.mktemp("house")) as made:
        made.open_gateway()
        yield made


@pytest.fixture
def instance(home: House, tmp_path: Path) -> Iterator[Path]:
    """An instance as `init` makes it, with the keys of the local hub."""
    place, port = tmp_path, unused_port()
    inside = Inside(home)
    made = inside("init", f"demo-{port}", "--yes", "--dir", place, "--set", f"port={port}",
                  "--set", f"root={place}/var")  # fmt: skip
    assert made.code == 0, made.err
    folder = place / f"demo-{port}"
    yield folder
    inside("quit", folder)


@pytest.fixture
def mapped(instance: Path) -> Path:
    """The same, which is to map a port."""
    file = instance / "amprun.yaml"
    file.write_text(file.read_text() + MAPPED)
    return instance


def sent(home: House, folder: Path, *options: str) -> list[bytes]:
    """What leaves the machine from the start of `ampzero run` to the end of `ampzero stop`."""
    inside = Inside(home)
    with captured(home) as frames:
        done = inside("run", folder, *options, timeout=100)
        assert done.code == 0, done.err
        # Whatever it does at its start it has done then: who would announce, has, and who would map, begins.
        assert wait_for(lambda: inside.told("status", folder)["hub"]["state"] in ("announced", "off"))
        assert inside.told("nat", "status", folder)["state"] == "off"
        done = inside("stop", folder)
        assert done.code == 0, done.err
    return frames


def test_an_instance_of_the_local_hub_sends_not_one_packet(home: House, instance: Path) -> None:
    assert sent(home, instance) == []


@pytest.mark.parametrize("option", ["--no-nat-bypass", "--server", "--no-hub"])
def test_not_one_packet_where_it_is_said_so(home: House, mapped: Path, option: str) -> None:
    assert sent(home, mapped, option) == []


def test_a_port_is_mapped_where_that_is_wanted(home: House, mapped: Path) -> None:
    inside = Inside(home)
    with captured(home) as frames:
        done = inside("run", mapped, timeout=100)
        assert done.code == 0, done.err
        assert wait_for(lambda: inside("nat", "status", mapped).code == 0)
        told = inside.told("nat", "status", mapped)
        assert (told["state"], told["method"], told["reachable"]) == ("mapped", "PCP", True)
        assert told["external"].startswith(OUTSIDE)
        assert len(home.mapped()) == 1
        assert inside("stop", mapped).code == 0
    assert frames
    assert not home.mapped()
