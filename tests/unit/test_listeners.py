from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lib.supervisor.listeners import Listeners, listen


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    made = Listeners()
    yield made
    made.close_all()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Short paths: a socket's has at most 107 bytes."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def connected(address: str) -> bool:
    one = socket.socket(socket.AF_UNIX if address.startswith("unix:") else socket.AF_INET)
    with one:
        one.settimeout(30)
        host, _, port = address.rpartition(":")
        try:
            one.connect(address.removeprefix("unix:") if address.startswith("unix:") else (host, int(port)))
        except OSError:
            return False
        return True


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_socket_listens_until_it_is_closed(
    kind: str, listeners: Listeners, folder: Path, free_port: Callable[[], int]
) -> None:
    address = f"127.0.0.1:{free_port()}" if kind == "tcp" else "unix:web.sock"
    handle = listeners.get(address)
    assert listeners.get(address) == handle
    assert not os.get_inheritable(handle)
    assert connected(address)
    listeners.close(address)
    listeners.close(address)
    assert not connected(address)
    assert list(folder.iterdir()) == []


def test_a_unix_socket_is_its_users_alone_whatever_the_umask(listeners: Listeners, folder: Path) -> None:
    before = os.umask(0)
    try:
        listeners.get("unix:web.sock")
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert (folder / "web.sock").stat().st_mode & 0o777 == 0o600


def test_a_stale_unix_socket_is_replaced(listeners: Listeners, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as old:
        old.bind("web.sock")
        old.listen()
    assert not connected("unix:web.sock")
    listeners.get("unix:web.sock")
    assert connected("unix:web.sock")


def test_a_unix_socket_at_which_another_listens_is_not_taken_from_it(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind("web.sock")
        other.listen()
        with pytest.raises(OSError, match="in use") as caught:
            listen("unix:web.sock")
        assert (caught.value.errno, caught.value.filename) == (errno.EADDRINUSE, "unix:web.sock")
        assert connected("unix:web.sock")
        # But one of ours that an adopted child has, and that could not be taken back, is.
        listen("unix:web.sock", shared=True).close()


def test_a_file_that_is_no_socket_is_not_removed(folder: Path) -> None:
    (folder / "web.sock").write_text("precious")
    with pytest.raises(OSError, match="in use"):
        listen("unix:web.sock")
    assert (folder / "web.sock").read_text() == "precious"


def test_a_port_that_another_has_is_refused_with_its_name() -> None:
    for reuse in (False, True):
        with socket.socket() as other:
            if reuse:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(("127.0.0.1", 0))
            other.listen()
            address = f"127.0.0.1:{other.getsockname()[1]}"
            with pytest.raises(OSError, match="in use") as caught:
                listen(address)
            assert (caught.value.errno, caught.value.filename) == (errno.EADDRINUSE, address)


def test_a_later_supervisor_can_listen_beside_an_adopted_childs_socket(free_port: Callable[[], int]) -> None:
    first = listen(f"127.0.0.1:{free_port()}")
    address = f"127.0.0.1:{first.getsockname()[1]}"
    with first, pytest.raises(OSError, match="in use"):
        listen(address)
    with listen(address) as first, listen(address, shared=True):
        assert first.fileno() >= 0


def test_ipv6(listeners: Listeners, free_port: Callable[[], int]) -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    port = free_port()
    listeners.get(f"[::1]:{port}")
    with socket.create_connection(("::1", port), 30):
        pass


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:http", "127.0.0.1:99999", "unix:no/folder.sock", f"unix:{'x' * 200}", "192.0.2.1:80"],
)
def test_what_cannot_be_listened_at_is_an_oserror_that_names_it(address: str, folder: Path) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        listen(address)
    assert caught.value.filename == address


def test_a_socket_is_taken_back_from_a_living_process(folder: Path, free_port: Callable[[], int]) -> None:
    """From this process itself, which any kernel allows."""
    dead, heir = Listeners(), Listeners()
    port = free_port()
    for address in (f"127.0.0.1:{port}", "unix:web.sock"):
        heir.take_back(address, os.getpid(), dead.get(address))
        assert heir.get(address) != dead.get(address)
    # The dead one's copies close, as its process's end closes them; the sockets live on.
    for one in list(dead._open.values()):
        one.close()
    assert connected(f"127.0.0.1:{port}")
    assert not os.get_inheritable(heir.get(f"127.0.0.1:{port}"))
    heir.close_all()
    assert not connected(f"127.0.0.1:{port}")


def test_what_cannot_be_taken_back_is_made_anew_beside_it(
    listeners: Listeners, folder: Path, free_port: Callable[[], int]
) -> None:
    with listen(f"127.0.0.1:{free_port()}") as childs:
        address = f"127.0.0.1:{childs.getsockname()[1]}"
        listeners.take_back(address, 2**22 - 1, 3)
        listeners.get(address)
        assert connected(address)
