"""`ampzero hub serve`: real processes on the loopback, asked by our client and by plain HTTP."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hub_support import LIFTED, Served, serving
from identity_support import Party
from postgres_support import new_database, postgres_server
from prometheus_client.parser import text_string_to_metric_families
from support import Ampzero, unused_port, wait_for

from keys import history, operation, statement
from keys.errors import BusyError, HeadError, QuotaError, TrustError
from keys.hubclient.asking import Asking
from keys.hubclient.client import HubClient
from keys.hubclient.transport import Transport
from keys.tls.authority import Authority
from lib.errors import MissingError, RefusedError, UnreachableError


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("hub") / "data", *LIFTED) as served:
        yield served


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def registered(hub: Served) -> tuple[HubClient, Party, Party, str, str]:
    """A user and a host of its, and their ids."""
    client = hub.client()
    user = Party()
    host = Party(user)
    ids = [statement.parse(client.register(party.first))[0].id for party in (user, host)]
    return client, user, host, ids[0], ids[1]


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def test_from_registration_to_a_proven_identity(hub: Served) -> None:
    client, user, host, user_id, host_id = registered(hub)
    assert client.register(user.first) == client.register(user.first), "the same to the letter"
    said, known = client.prove(host_id)
    assert said.owner is not None
    assert (said.owner.id, said.genesis) == (user_id, host.genesis)
    assert known.state.head == host.head
    client.operate(user_id, user.change())
    client.operate(user_id, user.operations[-1])  # again: fine
    said, known = client.prove(user_id)
    assert (said.seq, said.head, said.signing) == (2, user.head, user.signing.public)
    assert client.operations(user_id) == [str(one.note) for one in user.operations]
    with pytest.raises(HeadError) as caught:
        user.operations.pop()
        client.operate(user_id, user.next())
    assert caught.value.head == said.head
    newest = client.log.newest(3)
    assert newest[-1][1] == user_id
    assert newest[-1][2].digest == said.head


def test_a_chain_is_adopted_whole(hub: Served) -> None:
    client, other = hub.client(), Party()
    for _ in range(3):
        other.change()
    text = client.adopt(other.operations)
    said = statement.parse(text)[0]
    assert (said.genesis, said.head, said.seq) == (other.genesis, other.head, 4)
    assert client.adopt(other.operations) == text
    assert client.adopt(other.operations[:2]), "an older copy changes nothing"
    fork = [*other.operations[:2], other.operations[3]]
    with pytest.raises(TrustError):
        client.adopt(fork)
    with pytest.raises(MissingError):
        client.register(Party(Party()).first)  # its owner is unknown


def test_announce_and_look_up(hub: Served) -> None:
    client, user, host, user_id, host_id = registered(hub)
    with pytest.raises(MissingError):
        client.announcement(host_id)
    note = host.announcement(host_id, 1, now())
    answer = client.announce(host_id, note)
    assert (answer.observed, answer.reachable, answer.head) == ("127.0.0.1", None, host.head)
    assert 0 < answer.reannounce_after < answer.ttl <= 1800
    assert client.announcement(host_id) == note, "to the letter"
    assert client.announce(host_id, note) is not None, "the same again is fine"
    newer = host.announcement(host_id, 5, now())
    client.announce(host_id, newer)
    for stale in (note, host.announcement(host_id, 4, now())):  # replayed, reordered
        with pytest.raises(HeadError):
            client.announce(host_id, stale)
    assert client.announcement(host_id) == newer
    stolen = Party(user).announcement(host_id, 9, now())
    with pytest.raises((TrustError, MissingError)):
        client.announce(host_id, stolen)
    with pytest.raises(TrustError):
        client.announce("host-999999", newer)
    with pytest.raises(TrustError):
        client.announce(user_id, newer)


@pytest.mark.parametrize(
    ("shift", "life"),
    [(timedelta(minutes=-50), timedelta(minutes=30)), (timedelta(minutes=30), timedelta(minutes=30))],
    ids=["expired", "from the future"],
)
def test_clocks_that_are_too_far_apart(hub: Served, shift: timedelta, life: timedelta) -> None:
    client, _, host, _, host_id = registered(hub)
    with pytest.raises(TrustError):
        client.announce(host_id, host.announcement(host_id, 1, now() + shift, life=life))
    for near in (timedelta(minutes=-4), timedelta(minutes=4)):
        seq = 2 if near < timedelta(0) else 3
        client.announce(host_id, host.announcement(host_id, seq, now() + near))


def test_dialling_back_reaches_who_asks_and_nobody_else(hub: Served) -> None:
    client, _, host, _, host_id = registered(hub)
    with socket.create_server(("127.0.0.1", 0)) as mine, socket.create_server(("127.0.0.2", 0)) as other:
        other.settimeout(0.2)
        good, foreign = f"127.0.0.1:{mine.getsockname()[1]}", f"127.0.0.2:{other.getsockname()[1]}"
        told = client.announce(host_id, host.announcement(host_id, 1, now(), addresses=(foreign, good)))
        assert told.reachable is True
        told = client.announce(host_id, host.announcement(host_id, 2, now(), addresses=(foreign,)))
        assert told.reachable is None
        with pytest.raises(TimeoutError):
            other.accept()
        body = host.announcement(host_id, 3, now(), addresses=(good,)).encode()
        status, _, raw = hub.ask("PUT", f"/v1/hosts/{host_id}/announce", body, X_Forwarded_For="127.0.0.1")
        assert status == 200
        assert json.loads(raw)["reachable"] is None, "behind an unknown proxy nobody knows who asks"
    with socket.create_server(("127.0.0.1", 0)) as gone:
        closed = gone.getsockname()[1]
    told = client.announce(host_id, host.announcement(host_id, 4, now(), addresses=(f"127.0.0.1:{closed}",)))
    assert told.reachable is False


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/ids/host-99999", None, 404),
        ("GET", "/v1/ids/host-99999/ops", None, 404),
        ("GET", "/v1/hosts/host-99999/announce", None, 404),
        ("GET", "/v1/ids/root", None, 400),
        ("GET", "/v1/ids/..%2f..", None, 404),
        ("GET", "/v1/ids/user-1'--", None, 400),
        ("GET", "/ids/<script>", None, 400),
        ("GET", "/v1/hub/2", None, 404),
        ("GET", "/v1/hub/x", None, 400),
        ("GET", "/v1/hub/0", None, 404),
        ("GET", "/nothing", None, 404),
        ("GET", "/v1", None, 404),
        ("OPTIONS", "*", None, 404),
        ("GET", "/tile/0/x000/000", None, 400),
        ("GET", "/tile/../../etc/passwd", None, 400),
        ("GET", "/tile/60/000", None, 400),
        ("GET", "/v1/log/proof", None, 400),
        ("GET", "/v1/log/proof?index=0&size=99999999", None, 400),
        ("GET", "/v1/log/proof?from=-1&size=1", None, 400),
        ("GET", "/v1/log/proof?" + "a=1&" * 50, None, 400),
        ("DELETE", "/v1/ids", None, 405),
        ("PUT", "/checkpoint", b"x", 405),
        ("POST", "/v1/ids", b"", 400),
        ("POST", "/v1/ids", b"garbage", 400),
        ("POST", "/v1/ids", bytes(range(256)), 400),
        ("POST", "/v1/ids", b"x" * 5000, 400),
        ("POST", "/v1/ids", b"x" * 70_000, 413),
        ("POST", "/v1/ids/user-1/ops", b"x" * 4097, 413),
        ("PUT", "/v1/hosts/host-1/announce", b"x" * 4097, 413),
        ("PUT", "/v1/hosts/host-1/announce", "ampzero/announce/v1\n\n— x y\n".encode(), 400),
    ],
)
def test_what_is_refused(hub: Served, method: str, path: str, body: bytes | None, status: int) -> None:
    got, headers, raw = hub.ask(method, path, body)
    assert (got, headers["content-type"]) == (status, "application/json"), raw
    said = json.loads(raw)
    assert said["error"]
    assert "\n" not in said["error"]


def test_a_body_that_never_ends_is_cut_off(hub: Served) -> None:
    with socket.create_connection(("127.0.0.1", hub.port), timeout=60) as raw:
        raw.sendall(b"POST /v1/ids HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n")
        got = b""
        try:
            for _ in range(100):
                raw.sendall(b"2000\r\n" + b"x" * 8192 + b"\r\n")
            got = raw.recv(4096)
        except OSError:
            pass
    assert not got or b" 413 " in got.split(b"\r\n")[0]
    assert hub.ask("GET", "/v1/hub")[0] == 200


@pytest.mark.slow
def test_who_says_nothing_is_not_waited_for(hub: Served) -> None:
    slow = (b"", b"GET / HTTP/1.1\r\nX: y\r\n", b"GET /v1/hub HTTP/1.1\r\nHost: h\r\n\r\nGET")
    with ExitStack() as stack:
        opened = []
        for sent in slow:
            raw = stack.enter_context(socket.create_connection(("127.0.0.1", hub.port), timeout=60))
            raw.sendall(sent)
            opened.append(raw)
        for sent, raw in zip(slow, opened, strict=True):
            got = b""
            while part := raw.recv(65536):  # it ends: the hub closes the connection
                got += part
            assert got.startswith(b"HTTP/1.1 200") == (b"hub" in sent)


def test_the_page_of_an_identity(hub: Served) -> None:
    client, user, _, user_id, host_id = registered(hub)
    client.operate(user_id, user.change())
    for id in (user_id, host_id):
        status, headers, raw = hub.ask("GET", f"/ids/{id}")
        text = raw.decode()
        assert status == 200
        assert headers["content-type"].startswith("text/html")
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script" not in policy
        assert 'name="viewport"' in text
        assert "<script" not in text
        assert not re.search(r"(src|href)=.?https?:", text), "nothing foreign is loaded"
        assert text.count('class="good"') == 3
        assert 'class="bad"' not in text
    assert "rotate" in hub.ask("GET", f"/ids/{user_id}")[2].decode()
    assert hub.ask("HEAD", f"/ids/{user_id}")[2] == b""
    assert hub.reference.fingerprint in hub.ask("GET", "/")[2].decode()


def test_metrics_are_for_the_operator_and_what_prometheus_reads(hub: Served) -> None:
    hub.client()
    status, _, raw = hub.ask("GET", "/metrics")
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(raw.decode())}
    assert families["ampzero_hub_answers"].samples
    assert families["ampzero_hub_answer_seconds"].type == "histogram"
    assert families["ampzero_hub_log_entries"].samples[0].value >= 0
    assert hub.ask("GET", "/metrics", None, X_Forwarded_For="127.0.0.1")[0] == 404


def test_what_curl_and_others_see_is_to_the_letter(hub: Served) -> None:
    client, user, _, user_id, _ = registered(hub)
    notes = history.split(hub.ask("GET", f"/v1/ids/{user_id}/ops")[2])
    assert [operation.parse(text).operation.digest for text in notes] == [user.genesis]
    assert hub.ask("GET", f"/v1/ids/{user_id}")[2].decode() == client.statement(user_id)
    status, headers, _ = hub.ask("GET", "/tile/entries/000.p/1")
    assert (status, headers["content-type"]) == (200, "application/octet-stream")
    assert "immutable" in headers["cache-control"]


def test_limits_say_when_to_come_again(tmp_path: Path) -> None:
    with serving(tmp_path / "hub", "--rate", "register=2/600", "--rate", "host=2/600") as hub:
        client, _, host, _, host_id = registered(hub)
        with pytest.raises(BusyError) as caught:
            client.register(Party().first)
        assert 250 < caught.value.retry_after < 1000
        for seq in (1, 2):
            client.announce(host_id, host.announcement(host_id, seq, now()))
        with pytest.raises(BusyError):
            client.announce(host_id, host.announcement(host_id, 3, now()))
        status, headers, raw = hub.ask("POST", "/v1/ids", b"x")
        assert status == 429
        assert int(headers["retry-after"]) > 1
        assert "error" in json.loads(raw)
        metrics = hub.ask("GET", "/metrics")[2].decode()
        assert 'ampzero_hub_limited_total{rate="register"} 2' in metrics


def test_who_writes_another_hosts_name_does_not_use_up_its_limit(tmp_path: Path) -> None:
    with serving(tmp_path / "hub", "--rate", "host=2/600") as hub:
        client, user, host, _, host_id = registered(hub)
        for seq in range(1, 9):
            with pytest.raises((TrustError, MissingError)):
                client.announce(host_id, Party(user).announcement(host_id, seq, now()))
        client.announce(host_id, host.announcement(host_id, 1, now()))


def test_invites_and_quotas(tmp_path: Path) -> None:
    with serving(tmp_path / "hub", "--invites", "--quota", "hosts=1") as hub:
        client, user = hub.client(), Party()
        for wrong in ("", "wrong"):
            with pytest.raises(RefusedError):
                client.register(user.first, wrong)
        done = Ampzero()("hub", "invite", "--data", hub.folder)
        word = done.out.strip()
        assert len(word) > 20, done.err
        text = client.register(user.first, word)
        assert client.register(user.first, word) == client.register(user.first) == text
        with pytest.raises(RefusedError):
            client.register(Party().first, word)
        client.register(Party(user).first)
        with pytest.raises((QuotaError, RefusedError)):
            client.register(Party(user).first)


def test_behind_a_proxy_its_word_counts(tmp_path: Path) -> None:
    with serving(tmp_path / "hub", "--trusted-proxy", "127.0.0.1", "--rate", "register=1/600") as hub:
        for number in (1, 2, 3):
            body = str(Party().first.note).encode()
            for status in (200, 429):
                got = hub.ask("POST", "/v1/ids", body, X_Forwarded_For=f"9.9.9.9, 198.51.{number}.7")
                assert got[0] == status, got
        assert hub.ask("GET", "/metrics", None, X_Forwarded_For="198.51.100.7")[0] == 404


def test_on_postgresql(tmp_path: Path, postgres: str) -> None:
    with serving(tmp_path / "hub", "--database", new_database(postgres, f"hub_{uuid.uuid4().hex}")) as hub:
        client, _, host, _, host_id = registered(hub)
        client.announce(host_id, host.announcement(host_id, 1, now()))
        assert client.prove(host_id)[0].genesis == host.genesis
        assert not (tmp_path / "hub/hub.sqlite").exists()


NGINX = """
daemon off; pid {place}/pid; error_log stderr;
events {{}}
http {{
    access_log off; client_body_temp_path {place}; proxy_temp_path {place}; fastcgi_temp_path {place};
    uwsgi_temp_path {place}; scgi_temp_path {place};
    server {{
        listen 127.0.0.1:{port} ssl; ssl_certificate {place}/cert; ssl_certificate_key {place}/key;
        location / {{
            proxy_pass http://127.0.0.1:{hub};
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            client_max_body_size 64k;
        }}
    }}
}}
"""


def test_behind_nginx_as_the_documentation_has_it(tmp_path: Path) -> None:
    program = shutil.which("nginx")
    if program is None:
        pytest.skip("nginx is not installed")
    Authority.open().issue(tmp_path / "cert", tmp_path / "key", ["localhost"], ["127.0.0.1"])
    port, inner = unused_port(), unused_port()
    (tmp_path / "conf").write_text(NGINX.format(place=tmp_path, port=port, hub=inner))
    options = ("--url", f"https://127.0.0.1:{port}", "--trusted-proxy", "127.0.0.1", *LIFTED)
    with serving(tmp_path / "hub", *options, port=inner) as hub:
        nginx = subprocess.Popen([program, "-e", "stderr", "-p", tmp_path, "-c", tmp_path / "conf"])
        try:
            assert wait_for(lambda: answers(port))
            client, _, host, _, host_id = registered(hub)
            told = client.announce(host_id, host.announcement(host_id, 1, now()))
            assert told.observed == "127.0.0.1", "all of this machine: nginx and who asks it"
            assert told.reachable is None
            client.prove(host_id)
        finally:
            nginx.terminate()
            nginx.wait(60)


def test_a_certificate_of_its_own_that_is_renewed(tmp_path: Path) -> None:
    authority = Authority.open()
    files = tmp_path / "hub.cert", tmp_path / "hub.key"
    authority.issue(*files, ["localhost"], ["127.0.0.1"])
    options = ("--tls-certificate", files[0], "--tls-key", files[1])
    with serving(tmp_path / "hub", *options) as hub:
        assert hub.reference.url == f"https://127.0.0.1:{hub.port}"
        hub.client().register(Party().first)
        with pytest.raises(UnreachableError, match="not trusted"):
            strange = Transport(hub.reference.url, context=ssl.create_default_context(cafile=None))
            HubClient.connect(hub.reference, Asking(hub.reference.url, transport=strange))
        first = ssl.get_server_certificate(("127.0.0.1", hub.port))
        authority.issue(*files, ["localhost"], ["127.0.0.1"])
        hub.process.send_signal(signal.SIGHUP)
        assert wait_for(lambda: ssl.get_server_certificate(("127.0.0.1", hub.port)) != first)
        files[1].write_text("rubbish")
        hub.process.send_signal(signal.SIGHUP)
        assert wait_for(lambda: "cannot be used" in hub.said.read_text())
        hub.client().refresh()
        assert hub.end() == 0


def test_a_stop_lets_open_requests_end(tmp_path: Path) -> None:
    with serving(tmp_path / "hub") as hub:
        client, user = hub.client(), Party()
        body = str(user.first.note).encode()
        with socket.create_connection(("127.0.0.1", hub.port), timeout=60) as raw:
            head = f"POST /v1/ids HTTP/1.1\r\nHost: hub\r\nContent-Length: {len(body)}\r\n\r\n"
            raw.sendall(head.encode() + body[:100])
            assert wait_for(lambda: hub.ask("GET", "/v1/hub")[0] == 200)
            ended = threading.Thread(target=hub.end)
            ended.start()
            raw.sendall(body[100:])
            assert b" 200 " in raw.recv(65536).split(b"\r\n")[0]
        ended.join(60)
        assert hub.process.returncode == 0
    with serving(tmp_path / "hub", port=hub.port) as again:
        assert again.reference == hub.reference
        assert statement.parse(again.client().register(user.first))[0].id == "user-1"
    with pytest.raises(UnreachableError):
        client.refresh()


def test_what_makes_no_sense_is_said_before_anything_is_made(tmp_path: Path) -> None:
    ampzero = Ampzero()
    for options, code in (
        (("--listen", "127.0.0.1"), 2),
        (("--listen", "0.0.0.0:0"), 2),
        (("--url", "http://hub.example"), 2),
        (("--tls-key", "x"), 2),
        (("--tls-key", "x", "--tls-certificate", "y"), 5),
        (("--trusted-proxy", "everybody"), 2),
        (("--rate", "register=lots"), 2),
        (("--quota", "hosts=-1"), 2),
        (("--origin", "Not A Name"), 1),
    ):
        done = ampzero("hub", "serve", "--data", tmp_path / "hub", "--listen", "127.0.0.1:0", *options)
        assert (done.code, done.err.count("error:")) == (code, 1), (options, done.err)
        assert not (tmp_path / "hub/root.note").exists()
    with serving(tmp_path / "hub") as hub:
        done = ampzero("hub", "serve", "--data", tmp_path / "hub2", "--listen", f"127.0.0.1:{hub.port}")
        assert done.code == 7
    done = ampzero("hub", "serve", "--data", tmp_path / "hub", "--listen", "127.0.0.1:0", "--origin", "other")
    assert done.code == 2
