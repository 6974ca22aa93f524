"""Blobs handed on from host to host by real agents: also where a relay lies, dies or is slow."""

from __future__ import annotations

import hashlib
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from agent_support import Site
from deploy_support import Quiet

from deploy.agent.layout import Layout
from deploy.agent.pull import Source, pull
from deploy.agent.relay import Relay, Request
from deploy.blobs import Blob
from deploy.channel import Channel
from deploy.environment import Host
from deploy.fleet import Fleet, Member
from deploy.manifest import Signed
from deploy.phases.stage import Stage
from deploy.relaycertificate import RelayCertificate, make
from deploy.relays import SEEDS
from deploy.transport import LocalTransport
from lib.errors import AmpzeroError, MissingError, RefusedError, UnreachableError, UsageError

SIZE = 3_000_000
CONTENT = random.Random(4).randbytes(SIZE // 2).hex()
TIME = 120.0


class Counting:
    """A channel that counts what is asked of it; `after` may do something to the host once that is done."""

    def __init__(self, channel: Channel, layout: Layout) -> None:
        self.channel = channel
        self.layout = layout
        self.asked: list[str] = []
        self.sent = 0
        self.after: Callable[[str, Counting], None] = lambda op, channel: None

    def call(self, op: str, body: bytes = b"", *, timeout: float, heard: Any = None,
             **fields: Any) -> dict[str, Any]:  # fmt: skip
        self.asked.append(op)
        self.sent += len(body)
        answer = self.channel.call(op, body, timeout=timeout, heard=heard, **fields)
        self.after(op, self)
        return answer

    def close(self) -> None:
        self.channel.close()


class Hosts:
    """Hosts with real agents, and one release for them all with a tree that is worth relays."""

    def __init__(self, folder: Path, count: int) -> None:
        self.sites = [Site(folder / f"h{number}", f"h{number}") for number in range(count)]
        for site in self.sites:
            site.key = self.sites[0].key
            site.set_up()
        first = self.sites[0]
        content = first.release({"data": CONTENT}, hosts=[site.name for site in self.sites])
        self.manifest = Signed(*first.sign(content))
        self.blobs = {}
        for sha256, described in content["blobs"].items():
            path = folder / sha256
            path.write_bytes(first.blobs[sha256])
            self.blobs[sha256] = Blob(sha256, described["size"], path, described["new"])
        self.large = max(self.blobs.values(), key=lambda blob: blob.size)
        self.channels: dict[str, Counting] = {}
        self.errors: list[str] = []

    def open(self, host: Host) -> Counting:
        site = next(site for site in self.sites if site.name == host.name)
        channel = Channel.open(LocalTransport(), str(site.layout.root), name=host.name)
        self.channels[host.name] = Counting(channel, site.layout)
        return self.channels[host.name]

    def staged(self, change: Callable[[str, Counting], None] | None = None) -> list[Member]:
        """Stage on all of them; those where it went well."""
        with Fleet([Host(site.name, "local:") for site in self.sites], self.open, Quiet()) as fleet:
            fleet.connect()
            for channel in self.channels.values():
                channel.after = change or channel.after
                channel.call("promise", timeout=TIME, epoch=1, coordinator="c")
            stage = Stage(self.manifest, 1, self.blobs, {}, TIME, TIME, Quiet())
            staged = stage(fleet, fleet.alive)
            self.errors = [str(member.error) for member in fleet.lost]
            return staged

    def all_whole(self) -> bool:
        return all(
            hashlib.sha256((site.layout.blob(self.large.sha256)).read_bytes()).hexdigest()
            == self.large.sha256
            for site in self.sites
        )

    @property
    def copies_sent(self) -> float:
        """How often the large blob left the coordinator."""
        return sum(channel.sent for channel in self.channels.values()) / self.large.size

    def asked(self, op: str) -> int:
        return sum(channel.asked.count(op) for channel in self.channels.values())


@pytest.fixture(scope="module")
def certificate() -> RelayCertificate:
    return make()


@pytest.fixture
def served(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "parent"
    path.write_bytes(CONTENT.encode())
    return path, hashlib.sha256(CONTENT.encode()).hexdigest()


def relay(path: Path, sha256: str, certificate: RelayCertificate, seconds: float = 60) -> Relay:
    one = Relay({sha256: path}, 2, certificate.private, seconds, "127.0.0.1")
    one.start()
    return one


def source(one: Relay, certificate: RelayCertificate, number: int = 0) -> Source:
    return Source(one.address, one.port, one.tokens[number], certificate.public)


def test_twelve_hosts_have_it_and_the_coordinator_sent_it_eight_times_at_most(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path, 12)
    assert len(hosts.staged()) == 12
    assert hosts.all_whole()
    # Less than eight times where one was ready before another had asked.
    assert hosts.copies_sent < SEEDS + 0.1
    assert hosts.asked("pull") == 12 - int(hosts.copies_sent)


def test_hosts_that_would_be_as_many_as_seeds_open_no_port(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path, 3)
    assert len(hosts.staged()) == 3
    assert hosts.asked("relay") == hosts.asked("pull") == 0


def test_a_relay_that_lies_harms_nobody(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path, SEEDS + 3)
    lies: list[Counting] = []

    def change(op: str, channel: Counting) -> None:
        if op == "relay":
            lies.append(channel)
        if op == "relay" and lies[0] is channel:
            path = channel.layout.blob(hosts.large.sha256)
            raw = bytearray(path.read_bytes())
            raw[len(raw) // 2] ^= 1
            path.write_bytes(raw)

    staged = hosts.staged(change)
    assert lies
    # The liar's own tree cannot be made of that either, and it says so; all others are well.
    assert len(staged) == len(hosts.sites) - 1, hosts.errors
    for site in hosts.sites:
        if site.layout is not lies[0].layout:
            assert (site.layout.dist / "tars").is_dir() and len(list(site.layout.tars.iterdir())) == 2


def test_a_relay_whose_agent_is_killed_harms_only_itself(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path, SEEDS + 3)
    killed: list[Counting] = []

    def change(op: str, channel: Counting) -> None:
        if op == "relay":
            killed.append(channel)
        if op == "relay" and killed[0] is channel:
            channel.channel._process.kill()

    staged = hosts.staged(change)
    assert killed and len(staged) == len(hosts.sites) - 1, hosts.errors


def test_a_blob_goes_on_from_where_it_broke_off(
    tmp_path: Path, served: tuple[Path, str], certificate: RelayCertificate
) -> None:
    path, sha256 = served
    child = tmp_path / "child" / sha256
    child.parent.mkdir()
    child.write_bytes(CONTENT.encode()[:1_000_000])
    parent = relay(path, sha256, certificate)
    path.write_bytes(b"x" * 1_000_000 + CONTENT.encode()[1_000_000:])  # what is here is not asked for again
    assert pull(source(parent, certificate), child, sha256, SIZE, TIME) == SIZE
    assert child.read_bytes() == CONTENT.encode()
    assert child.stat().st_mode & 0o777 == 0o600


def test_a_token_gives_a_blob_once(
    tmp_path: Path, served: tuple[Path, str], certificate: RelayCertificate
) -> None:
    path, sha256 = served
    parent = relay(path, sha256, certificate)
    for name, token, arrives in (("a", 0, True), ("b", 0, False), ("c", 1, True)):
        if arrives:
            pull(source(parent, certificate, token), tmp_path / name, sha256, SIZE, TIME)
            continue
        with pytest.raises(Exception, match="no more than 0 bytes") as caught:
            pull(source(parent, certificate, token), tmp_path / name, sha256, SIZE, TIME)
        assert getattr(caught.value, "exit_code", 0) == 12


def test_damaged_content_is_removed_and_refused(
    tmp_path: Path, served: tuple[Path, str], certificate: RelayCertificate
) -> None:
    path, sha256 = served
    parent = relay(path, sha256, certificate)
    path.write_bytes(CONTENT.encode()[:-1] + b"!")
    with pytest.raises(Exception, match="arrived damaged") as caught:
        pull(source(parent, certificate), tmp_path / "child", sha256, SIZE, TIME)
    assert getattr(caught.value, "exit_code", 0) == 11
    assert not (tmp_path / "child").exists()


def test_a_relay_that_sends_more_than_was_signed_is_not_read_on(
    tmp_path: Path, served: tuple[Path, str], certificate: RelayCertificate
) -> None:
    path, sha256 = served
    parent = relay(path, sha256, certificate)
    with path.open("ab") as stream:
        stream.write(b"more" * 1000)
    assert pull(source(parent, certificate), tmp_path / "child", sha256, SIZE, TIME) == SIZE
    assert (tmp_path / "child").stat().st_size == SIZE


@pytest.fixture
def stranger(certificate: RelayCertificate, tmp_path: Path) -> Iterator[Callable[..., Source]]:
    """Makes relays that do as they like: `answer` gets the connection once something was asked."""
    ended = threading.Event()
    with ExitStack() as stack:

        def start(answer: Callable[[ssl.SSLSocket, threading.Event], None],
                  own: RelayCertificate = certificate) -> Source:  # fmt: skip
            pem = tmp_path / f"stranger-{len(list(tmp_path.iterdir()))}.pem"
            pem.write_text(own.private)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve() -> None:
                with suppress(OSError):
                    connection, _ = listener.accept()
                    with context.wrap_socket(connection, server_side=True) as child:
                        child.recv(1000)
                        answer(child, ended)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            stack.callback(thread.join, TIME)
            stack.callback(ended.set)
            return Source("127.0.0.1", listener.getsockname()[1], "0" * 64, certificate.public)

        yield start


def test_a_relay_that_breaks_off_leaves_what_came_for_another(
    tmp_path: Path, served: tuple[Path, str], certificate: RelayCertificate, stranger: Callable[..., Source]
) -> None:
    path, sha256 = served
    half = stranger(lambda child, ended: child.sendall(CONTENT.encode()[: SIZE // 2]))
    with pytest.raises(Exception, match=f"{SIZE // 2} bytes of {SIZE}"):
        pull(half, tmp_path / "child", sha256, SIZE, TIME)
    assert (tmp_path / "child").stat().st_size == SIZE // 2
    pull(source(relay(path, sha256, certificate), certificate), tmp_path / "child", sha256, SIZE, TIME)
    assert (tmp_path / "child").read_bytes() == CONTENT.encode()


def test_a_slow_relay_is_given_up_in_time(
    tmp_path: Path, served: tuple[Path, str], stranger: Callable[..., Source]
) -> None:
    def drip(child: ssl.SSLSocket, ended: threading.Event) -> None:
        with suppress(OSError):
            while not ended.wait(0.05):
                child.sendall(b"x")

    begun = time.monotonic()
    with pytest.raises(Exception, match="too slow"):
        pull(stranger(drip), tmp_path / "child", served[1], SIZE, 0.5)
    assert time.monotonic() - begun < 60


def test_a_stranger_on_the_parents_port_is_not_even_asked(
    tmp_path: Path, served: tuple[Path, str], stranger: Callable[..., Source]
) -> None:
    asked = []
    with pytest.raises(Exception, match="certificate verify failed") as caught:
        pull(
            stranger(lambda child, ended: asked.append(1), make()), tmp_path / "child", served[1], SIZE, TIME
        )
    assert getattr(caught.value, "exit_code", 0) == 12
    assert not asked


def test_a_port_where_nobody_listens_is_another_way_not_the_end(
    tmp_path: Path, served: tuple[Path, str], certificate: RelayCertificate
) -> None:
    one = relay(*served, certificate, seconds=0.0)
    with pytest.raises(Exception, match=r"refused|reset") as caught:
        while True:
            pull(source(one, certificate), tmp_path / "child", served[1], SIZE, TIME)
    assert getattr(caught.value, "exit_code", 0) == 12


def test_whoever_finds_the_port_and_says_nothing_keeps_no_child_out(
    tmp_path: Path, served: tuple[Path, str], certificate: RelayCertificate
) -> None:
    path, sha256 = served
    parent = relay(path, sha256, certificate)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection((parent.address, parent.port)))
        assert pull(source(parent, certificate), tmp_path / "child", sha256, SIZE, TIME) == SIZE


@pytest.mark.parametrize("asked", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 500, b"ampzero-relay-1 x\n",
                                   Request("0" * 64, "1" * 64, 0).encode()])  # fmt: skip
def test_what_is_no_request_gets_nothing(
    served: tuple[Path, str], certificate: RelayCertificate, asked: bytes
) -> None:
    parent = relay(*served, certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=certificate.public)
    with (
        socket.create_connection((parent.address, parent.port), TIME) as connection,
        context.wrap_socket(connection) as child,
        suppress(ConnectionError),
    ):
        child.sendall(asked)
        assert child.recv(100) == b""


@pytest.fixture
def one(tmp_path: Path) -> Iterator[tuple[Hosts, Counting]]:
    """One host that has promised and staged, and lacks both blobs."""
    hosts = Hosts(tmp_path, 1)
    channel = hosts.open(Host("h0", "local:"))
    channel.call("promise", timeout=TIME, epoch=1, coordinator="c")
    channel.call("stage", timeout=TIME, epoch=1, manifest=hosts.manifest.text,
                 signature=hosts.manifest.signature)  # fmt: skip
    yield hosts, channel
    channel.close()


def test_a_host_serves_only_what_is_whole_and_verified(
    one: tuple[Hosts, Counting], certificate: RelayCertificate
) -> None:
    hosts, channel = one
    blob = hosts.large

    def ask() -> dict[str, Any]:
        return channel.call("relay", timeout=TIME, epoch=1, sha256s=[blob.sha256], ttl=60, children=2,
                            certificate=certificate.private)  # fmt: skip

    with pytest.raises(MissingError):
        ask()
    channel.call("put", b"x" * 1000, timeout=TIME, epoch=1, sha256=blob.sha256, offset=0, size=blob.size)
    with pytest.raises(MissingError):
        ask()
    path = channel.layout.blob(blob.sha256)
    path.write_bytes(b"x" * blob.size)
    with pytest.raises(RefusedError, match="damaged"):
        ask()
    path.write_bytes(blob.path.read_bytes())
    answer = ask()
    assert answer["address"] == "127.0.0.1" and len(set(answer["tokens"])) == 2


@pytest.mark.parametrize(("wrong", "error"), [
    ({"epoch": 2}, RefusedError), ({"sha256": "0" * 64}, RefusedError), ({"sha256": "../../etc"}, UsageError),
    ({"token": "x"}, UsageError), ({"port": 0}, UsageError), ({"port": True}, UsageError),
    ({"address": "example.org"}, UsageError), ({"seconds": 10**6}, UsageError),
    ({"certificate": 7}, UsageError), ({"certificate": "none"}, AmpzeroError),
])  # fmt: skip
def test_a_pull_is_checked_field_by_field(
    one: tuple[Hosts, Counting], certificate: RelayCertificate, wrong: dict[str, Any],
    error: type[AmpzeroError],
) -> None:  # fmt: skip
    hosts, channel = one
    fields = {"epoch": 1, "sha256": hosts.large.sha256, "token": "0" * 64, "port": 9, "seconds": 5,
              "address": "127.0.0.1", "certificate": certificate.public}  # fmt: skip
    with pytest.raises(error) as caught:
        channel.call("pull", timeout=TIME, **{**fields, **wrong})
    assert type(caught.value) is not UnreachableError or "certificate" in wrong


def test_an_agent_that_ends_takes_its_relay_with_it(
    one: tuple[Hosts, Counting], certificate: RelayCertificate, tmp_path: Path
) -> None:
    hosts, channel = one
    blob = hosts.large
    channel.layout.blobs.mkdir(exist_ok=True)
    channel.layout.blob(blob.sha256).write_bytes(blob.path.read_bytes())
    answer = channel.call("relay", timeout=TIME, epoch=1, sha256s=[blob.sha256], ttl=60, children=2,
                          certificate=certificate.private)  # fmt: skip
    channel.close()
    gone = Source(answer["address"], answer["port"], answer["tokens"][0], certificate.public)
    with pytest.raises(Exception, match="refused"):
        pull(gone, tmp_path / "child", blob.sha256, blob.size, TIME)
