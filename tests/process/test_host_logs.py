"""`ampzero logs --env`: the logs of several hosts as one, over the agent's channel."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deploy_support import Quiet
from running_support import Running
from support import Ampzero, Result, wait_for

from deploy.agent.errors import AgentError
from deploy.agent.logs import services, words
from deploy.channel import Channel
from deploy.environment import Host
from deploy.fleet import Fleet
from deploy.hostlogs import HostLogs, Line
from deploy.transport.local import LocalTransport

SPEAKS = """
import os, sys, time
for number in range(5):
    print(sys.argv[1], number, flush=True)
    time.sleep(0.01)
while not os.path.exists("go"): time.sleep(0.02)
print(sys.argv[1], "more", flush=True)
time.sleep(600)
"""


class HostOf(Running):
    """A host's folder with an instance that runs there."""

    def __init__(self, place: Path, ampzero: Ampzero) -> None:
        super().__init__(ampzero, place / "dist/instance", place / "var")
        program = place / "dist/ampify/bin/ampzero"
        for folder in (self.folder, program.parent, place / "state"):
            folder.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec {ampzero.path} "$@"\n')
        program.chmod(0o755)
        (place / "state/host.json").write_text(
            json.dumps({"name": place.name, "environment": "test", "instance": "demo"})
        )
        (self.folder / "speaks.py").write_text(SPEAKS)
        (self.folder / "amprun.yaml").write_text(
            f"name: demo\nservices:\n  web: {{command: {sys.executable} speaks.py {place.name}}}\n"
            "  quiet: {command: sleep 600}\n"
        )
        self.place = place

    def run(self, *options: str, **more: Any) -> Result:
        return self.ampzero("run", self.folder, *options, env={"AMPZERO_ROOT": str(self.root)}, **more)


@pytest.fixture
def hosts(tmp_path: Path, ampzero: Ampzero) -> Iterator[list[HostOf]]:
    made = [HostOf(tmp_path / name, ampzero) for name in ("alpha", "beta")]
    yield made
    for one in made:
        one.end()


@pytest.fixture
def fleet(tmp_path: Path, hosts: list[HostOf]) -> Iterator[Fleet]:
    def begin(host: Host) -> Channel:
        return Channel.open(LocalTransport(), str(tmp_path / host.name), name=host.name)

    with Fleet([Host("alpha", "local:"), Host("beta", "local:")], begin, Quiet()) as fleet:
        yield fleet


def told(lines: list[Line]) -> list[tuple[str, bytes]]:
    return [(line.host, line.record.text) for line in lines]


def test_what_there_is_comes_by_time_with_its_host(hosts: list[HostOf], fleet: Fleet) -> None:
    for host in hosts:
        host.start()
    fleet.connect()
    asked = {"services": ["web"], "streams": ["out"]}

    def all_there() -> bool:
        return len(HostLogs(fleet, asked).read(None)) == 10

    assert wait_for(all_there)
    found = HostLogs(fleet, asked).read(None)
    assert [line.time for line in found] == sorted(line.time for line in found)
    for place in ("alpha", "beta"):
        mine = [text for name, text in told(found) if name == place]
        assert mine == [f"{place} {number}".encode() for number in range(5)]
    assert told(HostLogs(fleet, asked).read(3)) == told(found)[-3:]
    assert not fleet.lost
    grep = HostLogs(fleet, {**asked, "text": "ALPHA 3", "ignore_case": True}).read(None)
    assert told(grep) == [("alpha", b"alpha 3")]


def test_followed_lines_come_once_and_a_lost_host_does_not_end_it(hosts: list[HostOf], fleet: Fleet) -> None:
    for host in hosts:
        host.start()
    fleet.connect()
    asked = {"services": ["web"], "streams": ["out"]}
    assert wait_for(lambda: len(HostLogs(fleet, asked).read(None)) == 10)
    seen: list[Line] = []
    follow = HostLogs(fleet, asked).follow(4)
    reader = threading.Thread(target=lambda: seen.extend(follow))
    reader.start()
    try:
        assert wait_for(lambda: len(seen) == 4)
        (hosts[0].folder / "go").touch()
        assert wait_for(lambda: ("alpha", b"alpha more") in told(list(seen))), seen
        lost = next(member for member in fleet.members if member.name == "alpha")
        assert lost.channel is not None
        lost.channel.close()
        (hosts[1].folder / "go").touch()
        assert wait_for(lambda: ("beta", b"beta more") in told(list(seen))), seen
    finally:
        for member in fleet.members:
            assert member.channel is not None
            member.channel.close()
        reader.join(60)
    assert not reader.is_alive()
    assert len(told(seen)) == len(set(told(seen))) == 6


def test_a_service_that_is_not_there_is_the_hosts_error(hosts: list[HostOf], fleet: Fleet) -> None:
    fleet.connect()
    assert HostLogs(fleet, {"services": ["nobody"]}).read(None) == []
    assert [member.name for member in fleet.lost] == ["alpha", "beta"]
    assert all("no service 'nobody'" in str(member.error) for member in fleet.lost)


@pytest.mark.parametrize(
    "request_", [{"services": ["--follow"]}, {"services": "web"}, {"services": ["web"] * 200}, {"lines": -1},
                 {"lines": True}, {"since": "--help"}, {"since": 3}, {"text": 3}, {"text": "\0"},
                 {"streams": ["all"]}],
)  # fmt: skip
def test_a_request_can_smuggle_in_no_option(request_: dict[str, Any]) -> None:
    with pytest.raises(AgentError):
        words(request_)
        services(request_)


def test_a_text_that_looks_like_an_option_is_a_text() -> None:
    assert words({"text": "--file=x"})[-1] == "--grep=--file=x"
