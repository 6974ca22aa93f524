"""The nginx service's files and process, run for real: with a small node of ours behind it, or with none."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer

import pytest
from spec_runner import instance_at, make_certificate, running, service_of, trusting, wait_until, write_files

import lib.services.nginx
from lib.errors import MissingError
from lib.instance import Instance
from lib.ports import PortBook
from lib.services.nginx import Nginx


class NodeHandler(BaseHTTPRequestHandler):
    """Answers with what it was asked; /events is a stream, /own-headers sets its own security headers."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/events":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("X-Accel-Buffering", "no")
            self.end_headers()
            self.wfile.write(b"data: first\n\n")
            self.server.asked.wait(60)  # type: ignore[attr-defined]  # set by node()
            self.close_connection = True
            return
        if self.headers.get("Upgrade"):
            self.send_response(101)
            self.send_header("Upgrade", self.headers["Upgrade"])
            self.send_header("Connection", self.headers["Connection"])
            self.end_headers()
            self.close_connection = True
            return
        body = "\n".join(f"{name}: {value}" for name, value in self.headers.items()).encode()
        self.send_response(200)
        if self.path == "/own-headers":
            self.send_header("X-Frame-Options", "DENY")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        pass


class Node(ThreadingMixIn, UnixStreamServer):
    """A node on a unix socket."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), NodeHandler)
        self.asked = threading.Event()


@contextmanager
def node(path: Path) -> Iterator[Node]:
    server = Node(path)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.asked.set()
        server.shutdown()
        server.server_close()
        thread.join()
        path.unlink(missing_ok=True)


class Site:
    """An instance with nginx, and how to ask it."""

    def __init__(self, folder: Path, *, server: bool = False, sockets: int = 1) -> None:
        self.folder = folder
        self.certificate = make_certificate(folder)
        probe = PortBook(folder / "free-port.json", str(folder))
        self.port = probe.port("site")
        probe.release()
        self.instance: Instance = instance_at(folder, port=self.port)
        self.service = service_of(self.instance, "nginx", certificate=self.certificate, server=server)
        assert isinstance(self.service, Nginx)
        self.nginx = self.service
        self.sockets = [self.instance.sockets / f"ampnode.{number + 1}.sock" for number in range(sockets)]
        self.given = {"AMPNODE_SOCKETS": "\n".join(map(str, self.sockets))} if sockets else {}

    def ask(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None, host: str = "127.0.0.1"
    ) -> tuple[int, http.client.HTTPMessage, str]:
        connection = http.client.HTTPSConnection(
            host, self.port, timeout=30, context=trusting(self.certificate[0])
        )
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_the_node_answers_and_learns_who_asked(site: Site) -> None:
    with running(site.nginx, site.given) as run, node(site.sockets[0]):
        status, headers, body = site.ask("/page?token=secret", headers={"X-Forwarded-For": "6.6.6.6"})
        assert status == 200
        assert "X-Forwarded-For: 127.0.0.1" in body
        assert "6.6.6.6" not in body
        assert "X-Forwarded-Proto: https" in body
        assert f"Host: 127.0.0.1:{site.port}" in body
        assert headers["Server"] == "nginx"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "SAMEORIGIN"
        assert headers["Strict-Transport-Security"] is None
        wait_until(lambda: "GET 127.0.0.1/page 200" in run.output(), what="access log on stdout")
        assert "secret" not in run.output()
        assert site.ask("/own-headers")[1].get_all("X-Frame-Options") == ["DENY"]
        assert site.ask("/.git/config")[0] == 404


def test_without_a_node_the_placeholder_page_and_then_the_node_at_once(tmp_path: Path) -> None:
    site = Site(tmp_path, sockets=2)  # two: nginx never waits before it tries an only one again
    with running(site.nginx, site.given) as run:
        for method in ("GET", "POST"):
            status, headers, body = site.ask("/", method)
            assert status == 503
            assert headers["Retry-After"] == "5"
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert "Back in a moment" in body
            assert "http:" not in body.replace("http-equiv", "")
            assert "//" not in body
        wait_until(lambda: "connect() to unix:" in run.output(), what="the reason in the log")
        with node(site.sockets[0]), node(site.sockets[1]):
            assert site.ask("/")[0] == 200


def test_the_flag_file_forces_the_placeholder(site: Site) -> None:
    with running(site.nginx, site.given), node(site.sockets[0]):
        site.nginx.placeholder_flag.touch()
        assert site.ask("/")[0] == 503
        assert site.ask("/robots.txt")[0] == 503
        assert site.ask("/favicon.svg")[0] == 200
        site.nginx.placeholder_flag.unlink()
        assert site.ask("/")[0] == 200


def test_files_of_www_come_first(site: Site) -> None:
    www = site.instance.directory / "nginx/www"
    www.mkdir(parents=True)
    (www / "style.css").write_text("body {}")
    with running(site.nginx, site.given), node(site.sockets[0]):
        status, headers, body = site.ask("/style.css")
        assert (status, body) == (200, "body {}")
        assert headers["Content-Type"].startswith("text/css")
        assert "Host:" in site.ask("/other.css")[2]


def test_the_template_www(site: Site) -> None:
    with running(site.nginx, site.given), node(site.sockets[0]):
        assert "Disallow: /" in site.ask("/robots.txt")[2]
        assert site.ask("/favicon.svg")[1]["Content-Type"] == "image/svg+xml"
        assert site.ask("/upgrade.html")[0] == 404


def test_one_of_two_processes_gone(tmp_path: Path) -> None:
    site = Site(tmp_path, sockets=2)
    with running(site.nginx, site.given), node(site.sockets[1]):
        assert [site.ask("/")[0] for _ in range(6)] == [200] * 6


def test_an_event_stream_is_not_held_back(site: Site) -> None:
    with running(site.nginx, site.given), node(site.sockets[0]) as server:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", site.port, timeout=30, context=trusting(site.certificate[0])
        )
        connection.request("GET", "/events")
        answer = connection.getresponse()
        assert answer.readline() == b"data: first\n"
        assert not server.asked.is_set(), "it arrived while the stream was open"
        server.asked.set()
        connection.close()


def test_a_web_socket_is_upgraded(site: Site) -> None:
    with running(site.nginx, site.given), node(site.sockets[0]):
        asked = (
            f"GET /ws HTTP/1.1\r\nHost: localhost:{site.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", site.port), 30) as plain:
            context = trusting(site.certificate[0])
            with context.wrap_socket(plain, server_hostname="localhost") as one:
                one.sendall(asked.encode())
                assert one.recv(4096).startswith(b"HTTP/1.1 101")


def test_plain_http_is_sent_to_https(site: Site) -> None:
    with running(site.nginx, site.given):
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
        connection.request("GET", "/a?b=c", headers={"Host": f"localhost:{site.port}"})
        answer = connection.getresponse()
        assert answer.status == 308
        assert answer.headers["Location"] == f"https://localhost:{site.port}/a?b=c"
        connection.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
@pytest.mark.parametrize(
    ("version", "accepted"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
)
def test_tls_versions_and_http2(site: Site, version: ssl.TLSVersion, accepted: bool) -> None:
    context = trusting(site.certificate[0])
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        running(site.nginx, site.given),
        socket.create_connection(("127.0.0.1", site.port), 30) as plain,
    ):
        if not accepted:
            with pytest.raises(ssl.SSLError):
                context.wrap_socket(plain, server_hostname="localhost")
            return
        with context.wrap_socket(plain, server_hostname="localhost") as one:
            assert one.selected_alpn_protocol() == "h2"


def listening(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            address, _, number = line.split()[1].rpartition(":")
            if line.split()[3] == "0A" and int(number, 16) == port:
                found.add(address)
    return found


LOOPBACK = {"0100007F", "00000000000000000000000001000000"}
ALL = {"00000000", "0" * 32}


@pytest.mark.parametrize(("server", "addresses"), [(False, LOOPBACK), (True, ALL)])
def test_only_this_machine_unless_it_is_a_server(tmp_path: Path, server: bool, addresses: set[str]) -> None:
    site = Site(tmp_path, server=server)
    with running(site.nginx, site.given):
        assert listening(site.port) == addresses


def test_a_machine_without_ipv6(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lib.services.nginx, "has_ipv6", lambda: False)
    with running(site.nginx, site.given):
        assert listening(site.port) == {"0100007F"}


def test_a_killed_nginx_starts_again(site: Site) -> None:
    with running(site.nginx, site.given) as run:
        run.stop("KILL")
    assert site.nginx.socket.exists(), "left behind, as the check must clear it away"
    with running(site.nginx, site.given) as run:
        assert run.stop("QUIT") == 0


def test_without_an_ampnode_only_the_files(tmp_path: Path) -> None:
    site = Site(tmp_path, sockets=0)
    www = site.instance.directory / "nginx/www"
    www.mkdir(parents=True)
    (www / "index.html").write_text("home")
    with running(site.nginx, site.given):
        assert site.ask("/")[2] == "home"
        assert site.ask("/nothing")[0] == 404


def test_a_wrong_configuration_fails_the_check(site: Site) -> None:
    own = site.instance.directory / "nginx"
    own.mkdir()
    (own / "nginx.conf").write_text("no_such_directive on;\n")
    write_files(site.nginx, site.given)
    (spec,) = site.nginx.processes(site.given)
    answer = subprocess.run(spec.check[-1], capture_output=True, text=True, check=False)
    assert answer.returncode != 0
    assert "no_such_directive" in answer.stderr


def test_no_certificate_is_an_error(tmp_path: Path) -> None:
    service = service_of(instance_at(tmp_path), "nginx")
    with pytest.raises(MissingError, match="certificate"):
        service.files({})


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A folder that another user can reach, and so short that the sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="az-") as name:
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_as_an_ordinary_user(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(own_folder)
    user = 65534
    # Its own copy, as a made instance has one: the checkout may be closed to other users.
    template = Path(lib.services.nginx.__file__).parents[2] / "instance_template/nginx"
    shutil.copytree(template, site.instance.directory / "nginx")
    write_files(site.nginx, site.given)
    for path in (own_folder, *own_folder.rglob("*")):
        os.chown(path, user, user)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    original = write_files

    def owned(service: Nginx, given: dict[str, str]) -> None:
        original(service, given)
        os.chown(service.conf, user, user)

    monkeypatch.setattr("spec_runner.write_files", owned)
    with running(site.nginx, site.given, user) as run:
        assert site.ask("/")[0] == 503
        wait_until(lambda: " 503 " in run.output(), what="access log on stdout")
