"""The probes that speak to Redis, etcd, nginx and PostgreSQL, against the real ones."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from running_support import Running
from spec_runner import instance_at, make_certificate, running, service_of
from support import unused_port, wait_for

from lib.programs.known import find_program
from lib.supervisor import probes
from lib.supervisor.domain import amount
from lib.supervisor.domain.postgres import address, startup
from lib.supervisor.probes import ProbeError
from lib.supervisor.spec import Domain, Probe

MakeRunning = Callable[..., Running]


def look(domain: Domain, target: str, timeout: float = 10) -> str:
    """The facts, or what is wrong with a `!` before it."""
    try:
        return asyncio.run(probes.ask(Probe(kind="tcp", domain=domain, target=target, timeout=timeout)))
    except ProbeError as error:
        return f"!{error}"


@contextmanager
def started(*argv: str | Path, log: Path, user: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """A server of a test's own."""
    ids = {"user": user, "group": user, "extra_groups": []} if user else {}
    with log.open("ab") as output:
        one = subprocess.Popen(list(map(str, argv)), stdout=output, stderr=output, **ids)  # type: ignore[call-overload]  # ids are not typed
    try:
        yield one
    finally:
        one.kill()
        one.wait()


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """The port of a server that says `answer` to whoever comes, whatever it is told, and goes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    one, _ = server.accept()
                except OSError:
                    return
                with one:
                    one.settimeout(1)
                    try:
                        one.recv(4096)
                        one.sendall(answer)
                        one.shutdown(socket.SHUT_WR)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(60)


def test_redis_tells_its_role_and_memory_and_who_follows(tmp_path: Path) -> None:
    service = service_of(instance_at(tmp_path), "redis")
    path = service.environment()["REDIS_SOCKET"]
    with running(service):
        assert look("redis", f"unix:{path}").startswith("master, ")
        assert look("redis", f"unix:{path}").endswith("B")
        port = unused_port()
        master = service.environment()["REDIS_PORT"]
        replica = ("redis-server", "--port", f"{port}", "--bind", "127.0.0.1", "--save", "",
                   "--dir", tmp_path, "--replicaof", "127.0.0.1", master)  # fmt: skip
        with started(*replica, log=tmp_path / "replica.log"):
            assert wait_for(lambda: "(link up)" in look("redis", f"127.0.0.1:{port}")), look(
                "redis", f"127.0.0.1:{port}"
            )
            assert look("redis", f"localhost:{port}").startswith("replica of 127.0.0.1:")
            assert wait_for(lambda: look("redis", f"unix:{path}").endswith(", 1 replica"))
    assert look("redis", f"unix:{path}").startswith("!unix:")


def test_a_redis_with_a_password_is_ready(tmp_path: Path) -> None:
    port = unused_port()
    argv = ("redis-server", "--port", f"{port}", "--save", "", "--dir", tmp_path, "--requirepass", "secret")
    with started(*argv, log=tmp_path / "redis.log"):
        assert wait_for(lambda: look("redis", f"{port}") == "answers, asks for a password")


def test_a_redis_that_loads_is_not_ready(tmp_path: Path) -> None:
    port = unused_port()
    argv = ("redis-server", "--port", f"{port}", "--save", "", "--dir", tmp_path, "--enable-debug-command",
            "yes")  # fmt: skip
    with started(*argv, log=tmp_path / "redis.log"):
        assert wait_for(lambda: look("redis", f"{port}").startswith("master"))
        with redis.Redis(port=port) as client:
            client.execute_command("DEBUG", "POPULATE", "20000", "key", "100")
            client.save()
    # 1000 keys a second, as if the file were huge.
    with started(*argv, "--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024",
                 log=tmp_path / "redis.log"):  # fmt: skip
        assert wait_for(lambda: look("redis", f"{port}").startswith("!redis loads its data")), look(
            "redis", f"{port}"
        )


def set_alarm(url: str, alarm: dict[str, object]) -> None:
    """Raise or lower an alarm of an etcd."""
    body = json.dumps(alarm).encode()
    urllib.request.urlopen(f"{url}/v3/maintenance/alarm", body, 5).close()  # noqa: S310 -- http, our own etcd


def test_etcd_tells_who_leads_and_how_large_it_is(tmp_path: Path) -> None:
    service = service_of(instance_at(tmp_path), "keyspace")
    url = service.environment()["KEYSPACE_URL"]
    with running(service):
        assert look("etcd", f"{url}/health").startswith("leader of 1 member, ")
        alarm: dict[str, object] = {"action": "ACTIVATE", "memberID": 0, "alarm": "NOSPACE"}
        set_alarm(url, alarm)
        assert look("etcd", url) == "!etcd has the alarm NOSPACE"
        alarm["action"] = "DEACTIVATE"
        set_alarm(url, alarm)
        assert look("etcd", url).startswith("leader of 1 member, ")


def test_an_etcd_without_its_majority_is_not_ready(tmp_path: Path) -> None:
    ports = [(unused_port(), unused_port()) for _ in range(2)]
    cluster = ",".join(f"m{number}=http://127.0.0.1:{peer}" for number, (_, peer) in enumerate(ports))

    def argv(number: int) -> tuple[str, ...]:
        client, peer = (f"http://127.0.0.1:{port}" for port in ports[number])
        return (
            find_program("etcd"), "--name", f"m{number}", "--data-dir", str(tmp_path / f"m{number}"),
            "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster,
        )  # fmt: skip

    def told() -> list[str]:
        return [look("etcd", f"http://127.0.0.1:{client}") for client, _ in ports]

    with started(*argv(0), log=tmp_path / "0.log"):
        with started(*argv(1), log=tmp_path / "1.log"):
            assert wait_for(lambda: any(text.startswith("leader of 2 members") for text in told())), told()
            assert wait_for(lambda: any(text.startswith("follower of m") for text in told())), told()
        assert wait_for(lambda: told()[0].startswith("!etcd has no leader")), told()


def test_nginx_tells_its_connections(tmp_path: Path) -> None:
    service = service_of(
        instance_at(tmp_path, port=unused_port()), "nginx", certificate=make_certificate(tmp_path)
    )
    with running(service) as run:
        assert run.spec.ready
        target = run.spec.ready.target
        # The probe that found it ready may not have closed its connection yet.
        assert wait_for(lambda: look("nginx", target) == "0 connections"), look("nginx", target)
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(target.removeprefix("http+unix:").rpartition(":")[0])
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            one.recv(1000)
            assert wait_for(lambda: look("nginx", target) == "1 connection, 1 idle"), look("nginx", target)
        assert look("nginx", target.replace("/healthz", "/nothing")).startswith("!nginx answered 404")


@pytest.fixture
def cluster() -> Iterator[tuple[Path, int]]:
    """The folder of a PostgreSQL that an unprivileged user owns, and that user's number."""
    if not (find_postgres("initdb") and find_postgres("postgres")):
        pytest.skip("PostgreSQL is not installed")
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else 0
    # Not below pytest's folders, which are root's alone, and too long for a socket's path.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    try:
        if user:
            os.chown(folder, user, user)
        ids = {"user": user, "group": user, "extra_groups": []} if user else {}
        made = subprocess.run(  # type: ignore[call-overload]  # ids are not typed
            [find_postgres("initdb"), "-D", str(folder / "data"), "-A", "trust", "-N", "-U",
             pwd.getpwuid(os.geteuid()).pw_name],
            capture_output=True, text=True, cwd=folder, **ids,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        yield folder, user
    finally:
        shutil.rmtree(folder)


def find_postgres(name: str) -> str:
    """A program of the server, which Debian keeps off the PATH."""
    found = shutil.which(name)
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return found or (str(beside[-1]) if beside else "")


def test_postgres_is_ready_when_pg_isready_says_so(cluster: tuple[Path, int], tmp_path: Path) -> None:
    folder, user = cluster
    port = unused_port()
    argv = (
        find_postgres("postgres"),
        "-D",
        folder / "data",
        "-k",
        folder,
        "-h",
        "127.0.0.1",
        "-p",
        f"{port}",
    )
    by_socket, by_port = f"unix:{folder}/.s.PGSQL.{port}", f"127.0.0.1:{port}"

    def is_ready() -> bool:
        asked = [find_postgres("pg_isready") or "pg_isready", "-q", "-h", "127.0.0.1", "-p", f"{port}"]
        return subprocess.run(asked, check=False).returncode == 0

    with started(*argv, log=tmp_path / "pg.log", user=user) as server:
        assert wait_for(lambda: not look("postgres", by_port).startswith("!")), (
            tmp_path / "pg.log"
        ).read_text()
        assert is_ready()
        assert look("postgres", by_port).startswith("accepting connections, 1")
        assert look("postgres", by_socket).endswith(", primary")
        # Whom it does not know it refuses, which is an answer.
        hba = folder / "data/pg_hba.conf"
        hba.write_text("local all all scram-sha-256\nhost all all all reject\n")
        server.send_signal(signal.SIGHUP)
        assert wait_for(lambda: look("postgres", by_port) == "accepting connections"), look(
            "postgres", by_port
        )
        assert wait_for(lambda: look("postgres", by_socket) == "accepting connections")
        assert is_ready()
        hba.write_text("local all all trust\n")
        server.send_signal(signal.SIGHUP)
        assert wait_for(lambda: look("postgres", by_socket).endswith("primary"))
        with socket.socket(socket.AF_UNIX) as held:
            # A smart shutdown waits for us, and takes nobody in meanwhile.
            held.connect(by_socket.removeprefix("unix:"))
            held.sendall(startup(pwd.getpwuid(os.geteuid()).pw_name))
            assert held.recv(10)
            server.send_signal(signal.SIGTERM)
            shutting = "!postgres takes no connections: the database system is shutting down"
            assert wait_for(lambda: look("postgres", by_port) == shutting), look("postgres", by_port)
            assert not is_ready()
        server.wait(60)
    assert look("postgres", by_port) == f"!{by_port}: connection refused"


def test_addresses_of_postgres() -> None:
    assert address("localhost:5433") == "localhost:5433"
    assert address("unix:/run/pg") == "unix:/run/pg/.s.PGSQL.5432"
    assert address("unix:/run/pg/.s.PGSQL.5433") == "unix:/run/pg/.s.PGSQL.5433"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1234, "1.23 kB"), (999_999, "1 MB"), (20_500_000, "20.5 MB")],
)
def test_amount(size: int, text: str) -> None:
    assert amount(size) == text


GARBAGE = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=50).map(lambda raw: b"+PONG\r\n$20\r\n" + raw),
    st.sampled_from(
        [b"$-1\r\n", b"$99999999\r\n", b"$x\r\n", b"+" * 9000, b"R\0\0\0\x08\0\0\0\0S\xff\xff\xff\xff"]
    ),
    st.sampled_from(
        ["[]", "{}", '{"leader": []}', '{"header": 3}', "[" * 50000, '{"leader":"1","members":[1]}']
    ).map(lambda body: b"HTTP/1.0 200 OK\r\n\r\n" + body.encode()),
    st.binary(max_size=50).map(lambda raw: b"E" + (len(raw) + 4).to_bytes(4) + raw),
)


@settings(max_examples=40)
@given(GARBAGE)
def test_any_answer_is_taken_without_harm(answer: bytes) -> None:
    with answering(answer) as port:
        for domain in ("redis", "etcd", "postgres"):
            target = f"http://127.0.0.1:{port}" if domain == "etcd" else f"127.0.0.1:{port}"
            assert isinstance(look(domain, target), str)


def test_an_endless_answer_ends() -> None:
    with answering(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 1_000_000) as port:
        assert look("etcd", f"http://127.0.0.1:{port}") == "!an answer of more than 262144 bytes"


def test_status_shows_what_the_probe_of_a_command_learns(make_running: MakeRunning) -> None:
    port = unused_port()
    one = make_running(
        f"services:\n  cache:\n    command: redis-server --port {port} --bind 127.0.0.1 --save ''\n"
        f"    ready: {{redis: {port}, period: 100ms}}\n"
    ).start()
    assert one.service("cache")["probe"].startswith("master, ")
    with redis.Redis(port=port) as client:
        client.set("x", "y" * 3_000_000)
    one.until(lambda: "MB" in one.service("cache")["probe"])
    shown = one.ampzero("status", one.folder).out
    assert "master, " in shown
    pid = one.pid("cache")
    os.kill(pid, signal.SIGSTOP)
    try:
        one.until_state("cache", "unready")
        assert one.service("cache")["probe"] == ""
    finally:
        os.kill(pid, signal.SIGCONT)
    one.until_state("cache", "ready")
    assert one.pid("cache") == pid
