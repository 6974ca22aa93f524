"""Ports: kept, held, named; with real sockets of this machine."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from lib import ports
from lib.errors import TakenError
from lib.portholder import holder
from lib.ports import PortBook, has_ipv6, is_free, ports_free, remembered, taken

HOSTS = ["127.0.0.1", "0.0.0.0", *(["::1", "::"] if has_ipv6() else [])]  # noqa: S104 -- closed at once


def book(folder: Path, *, strict: bool = False, name: str = "") -> PortBook:
    return PortBook(folder / "state/ports.json", name or str(folder), strict=strict)


def listener(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def a_free_port(folder: Path) -> int:
    one = PortBook(folder / "throwaway.json", f"{folder}/throwaway")
    port = one.port("any")
    one.release()
    return port


def test_an_automatic_port_is_kept_from_run_to_run(tmp_path: Path) -> None:
    first = book(tmp_path)
    port = first.port("redis.1")
    assert 20000 <= port < 30000
    assert first.port("redis.1") == port
    other = first.port("keyspace.1")
    assert other != port
    first.release()
    assert book(tmp_path).port("redis.1") == port
    assert remembered(tmp_path / "state/ports.json") == {"redis.1": port, "keyspace.1": other}
    assert (tmp_path / "state/ports.json").stat().st_mode & 0o777 == 0o600


def test_the_choice_follows_from_instance_and_key(tmp_path: Path) -> None:
    first = PortBook(tmp_path / "a.json", f"same {tmp_path}")
    port = first.port("k")
    first.release()
    second = PortBook(tmp_path / "b.json", f"same {tmp_path}")
    assert second.port("k") == port


@pytest.mark.parametrize("host", [host for host in HOSTS if host != "::"])
def test_a_held_port_is_closed_to_others_until_it_is_released(tmp_path: Path, host: str) -> None:
    held = book(tmp_path)
    port = held.port("k")
    with pytest.raises(OSError, match="in use"):
        listener(port, host)
    held.release("k")
    listener(port, host).close()
    held.hold()
    with pytest.raises(OSError, match="in use"):
        listener(port, host)


def test_a_held_port_refuses_connections(tmp_path: Path) -> None:
    held = book(tmp_path)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", held.port("k")), 2)


@pytest.mark.parametrize("host", HOSTS)
def test_a_wanted_port_that_is_taken_names_the_holder(tmp_path: Path, host: str) -> None:
    port = a_free_port(tmp_path)
    with listener(port, host), pytest.raises(TakenError) as caught:
        book(tmp_path).port("nginx.1", port)
    assert f"port {port} for nginx.1 is taken by" in caught.value.message
    assert f"pid {os.getpid()}" in caught.value.message
    assert caught.value.exit_code == 7


def test_a_remembered_port_that_is_taken_is_replaced_unless_strict(tmp_path: Path) -> None:
    first = book(tmp_path)
    port = first.port("k")
    first.release()
    with listener(port):
        with pytest.raises(TakenError):
            book(tmp_path, strict=True).port("k")
        again = book(tmp_path)
        assert again.port("k") != port


def test_a_wanted_port_replaces_a_remembered_one(tmp_path: Path) -> None:
    first = book(tmp_path)
    first.port("k")
    wanted = a_free_port(tmp_path)
    assert first.port("k", wanted) == wanted
    assert first.port("k") == wanted


def test_two_services_that_want_one_port(tmp_path: Path) -> None:
    wanted = a_free_port(tmp_path)
    first = book(tmp_path)
    first.port("a", wanted)
    with pytest.raises(TakenError, match="wanted by both a and b"):
        first.port("b", wanted)


def test_a_connection_that_closes_does_not_count(tmp_path: Path) -> None:
    """The server's side ends first, so that TIME_WAIT stays on its port."""
    port = a_free_port(tmp_path)
    with listener(port) as server, socket.create_connection(("127.0.0.1", port)) as client:
        accepted, _ = server.accept()
        accepted.close()
        assert client.recv(1) == b""
    assert is_free(port)
    assert book(tmp_path).port("k", port) == port


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"k": "x"}', b'{"k": 70000}', b'{"k": true}', b"\xff\xfe", b"null"]
)
def test_a_damaged_file_counts_as_empty(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/ports.json").write_bytes(content)
    assert remembered(tmp_path / "state/ports.json") == {}
    assert 20000 <= book(tmp_path).port("k") < 30000


def test_a_port_below_1024_without_rights_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(port: int, *, reuse: bool) -> list[socket.socket]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ports, "bind_all", refused)
    with pytest.raises(TakenError, match="needs root rights"):
        book(tmp_path).port("nginx.1", 80)


def test_who_listens(tmp_path: Path) -> None:
    port = a_free_port(tmp_path)
    assert holder(port) == ""
    assert ports_free([port])
    with listener(port):
        assert holder(port).endswith(f", pid {os.getpid()}")
        assert taken([port]) == {port: holder(port)}
        assert not ports_free([port])
