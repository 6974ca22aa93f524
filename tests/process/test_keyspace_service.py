"""The keyspace service's files and process, and the three configurations of the replicated mode, for real."""

from __future__ import annotations

import http.client
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from spec_runner import instance_at, running, service_of, wait_until

from lib.keyspace.client import KeyspaceClient
from lib.keyspace.transport import KeyspaceError
from lib.ports import PortBook
from lib.programs.known import find_program
from lib.services.templated import TEMPLATES
from lib.template import render_string


def test_a_killed_keyspace_comes_back_with_its_data_on_its_ports(tmp_path: Path) -> None:
    instance = instance_at(tmp_path)
    first = service_of(instance, "keyspace")
    with running(first) as run:
        KeyspaceClient(first.environment()["KEYSPACE_URL"]).set("kept", "yes")
        run.stop("KILL")
    again = service_of(instance, "keyspace")
    assert again.environment() == first.environment()
    with running(again) as run:
        client = KeyspaceClient(again.environment()["KEYSPACE_URL"])
        assert client.get("kept") == b"yes"
        run.stop()
        # etcd ends by the signal that it was sent, once it has closed its files.
        assert run.process.returncode in (0, -15)


def test_pages_of_other_sites_are_refused(tmp_path: Path) -> None:
    service = service_of(instance_at(tmp_path), "keyspace")
    with running(service):
        address = urlsplit(service.environment()["KEYSPACE_URL"])
        for headers, status in (
            ({"Host": "rebound.example"}, 421),
            ({"Origin": "https://evil.example"}, 200),
        ):
            connection = http.client.HTTPConnection(address.netloc, timeout=30)
            connection.request("POST", "/v3/kv/range", '{"key": "YQ=="}', headers)
            answer = connection.getresponse()
            assert answer.status == status
            assert answer.headers["Access-Control-Allow-Origin"] is None
            connection.close()


def values(folder: Path, number: int, members: list[dict[str, str]]) -> dict[str, object]:
    return {
        "members": members, "data": str(folder / f"data-{number}"), "state": "new", "token": "tested",
        "peer_tls": None, "client_tls": None, "health_url": "", "debug": False,
    }  # fmt: skip


def rendered(number: int, given: dict[str, object]) -> str:
    source = TEMPLATES / f"keyspace/keyspace-{number}.conf"
    return render_string(source.read_text(), given, name=str(source))


def test_three_members_go_on_without_one(tmp_path: Path) -> None:
    book = PortBook(tmp_path / "ports.json", str(tmp_path))
    members = [
        {
            "name": f"keyspace-{number}",
            "client_url": f"http://127.0.0.1:{book.port(f'{number}.client')}",
            "peer_url": f"http://127.0.0.1:{book.port(f'{number}.peer')}",
        }
        for number in range(3)
    ]
    book.release()
    etcds: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for number, member in enumerate(members):
            conf = tmp_path / f"{number}.conf"
            conf.write_text(rendered(number, values(tmp_path, number, members)))
            with (tmp_path / f"{number}.log").open("wb") as log:
                etcds[member["name"]] = subprocess.Popen(
                    [find_program("etcd"), "--config-file", conf], stdout=log, stderr=log
                )
        client = KeyspaceClient([member["client_url"] for member in members])

        def can_write() -> bool:
            try:
                client.set("k", "v")
            except KeyspaceError:
                return False
            return True

        wait_until(can_write, 60, "a leader")
        master = client.getmaster()
        etcds[master].kill()
        etcds[master].wait()
        wait_until(can_write, 60, "the next leader")
        assert client.getmaster() not in ("", master)
        assert client.get("k") == b"v"
    finally:
        for etcd in etcds.values():
            etcd.kill()
            etcd.wait()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_members_know_each_other_by_certificate(number: int) -> None:
    members = [
        {"name": f"n{one}", "client_url": "http://h:1", "peer_url": f"https://h{one}:2"} for one in range(3)
    ]
    tls = {"certificate": "/c", "key": "/k", "ca": "/a"}
    conf = yaml.safe_load(rendered(number, {**values(Path("/x"), number, members), "peer_tls": tls}))
    assert conf["name"] == f"n{number}"
    assert conf["initial-cluster"] == "n0=https://h0:2,n1=https://h1:2,n2=https://h2:2"
    assert conf["peer-transport-security"]["client-cert-auth"] is True
