"""Sockets that the supervisor listens on for its services: sd_listen_fds(3)."""

from __future__ import annotations

import socket
import stat
import sys
from collections.abc import Callable

import pytest
from running_support import Running, kill, wait_gone

MakeRunning = Callable[..., Running]

PYTHON = sys.executable

TELL = """
import os, socket, sys, time
own = os.environ["LISTEN_PID"] == str(os.getpid())
print("env", os.environ["LISTEN_FDS"], own, os.environ["LISTEN_FDNAMES"])
kept = []
for number in range(int(os.environ["LISTEN_FDS"])):
    one = socket.socket(fileno=3 + number)
    kept.append(one)
    print("socket", one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), one.getsockname(), flush=True)
print("open", sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1], flush=True)
time.sleep(600)
"""

ANSWER = """
import socket, sys, time
listener = socket.socket(fileno=3)
while True:
    client, _ = listener.accept()
    client.sendall(b"yes")
    client.close()
"""


def test_what_a_child_finds(make_running: MakeRunning, free_port: Callable[[], int]) -> None:
    port = free_port()
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} tell.py, listen: [{port}, 'unix:web.sock'],"
        " limits: {files: 99}}\n",
        {"tell.py": TELL},
    ).start()
    one.until(lambda: len(one.output("web")) == 4)
    assert one.output("web") == [
        b"env 2 True %d:web.sock" % port, b"socket 1 ('127.0.0.1', %d)" % port,
        b"socket 1 " + str(one.folder / "web.sock").encode(), b"open [0, 1, 2, 3, 4]",
    ]  # fmt: skip
    assert stat.S_IMODE((one.folder / "web.sock").stat().st_mode) == 0o600


def test_processes_share_it_and_a_restart_keeps_who_waits(
    make_running: MakeRunning, free_port: Callable[[], int]
) -> None:
    port = free_port()
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, processes: 2, listen: {port}}}\n", {"app.py": ANSWER}
    ).start()
    assert one.stop("web").code == 0
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.settimeout(20)
        assert one.ampzero("start", one.folder, "web").code == 0
        assert client.recv(3) == b"yes"
    kill(*(old := [one.pid("web.1"), one.pid("web.2")]))
    assert all(wait_gone(pid) for pid in old)
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.settimeout(20)
        assert client.recv(3) == b"yes"


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_an_address_that_cannot_be_had(
    make_running: MakeRunning, free_port: Callable[[], int], kind: str
) -> None:
    port = free_port()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        address = str(port) if kind == "tcp" else "'unix:no/such/folder/web.sock'"
        one = make_running(f"services:\n  web: {{command: sleep 600, listen: {address}}}\n")
        done = one.run()
    assert done.code != 0
    assert "cannot listen" in done.err or str(port) in done.err, done
    assert "Traceback" not in done.err


def test_ipv6(make_running: MakeRunning, free_port: Callable[[], int]) -> None:
    port = free_port()
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, listen: '[::1]:{port}'}}\n", {"app.py": ANSWER}
    ).start()
    with socket.create_connection(("::1", port), 30) as client:
        assert client.recv(3) == b"yes"
    assert one.stop().code == 0


def test_a_program_that_moved_its_socket_away_gives_it_back_after_a_crash(
    make_running: MakeRunning, free_port: Callable[[], int]
) -> None:
    port = free_port()
    app = (
        "import os, socket\nlistener = socket.socket(fileno=os.dup2(3, 30))\n"
        "os.dup2(os.open('/dev/null', os.O_RDONLY), 3)\n" + ANSWER.partition("\n")[2].partition("\n")[2]
    )
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} app.py, listen: {port}}}\n",
        {"app.py": app.replace("listener = socket.socket(fileno=3)\n", "")},
    ).start()
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        assert client.recv(3) == b"yes"
    kill(one.supervisor)
    one.until(lambda: one.run().code == 0)
    kill(old := one.pid("web"))
    assert wait_gone(old)
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.settimeout(20)
        assert client.recv(3) == b"yes"
