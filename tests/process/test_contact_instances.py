"""Two instances on one machine call each other, by the local hub and by a hub that is a server."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from contact_running import Called, HubProcess, Make, kill_nine, make_called
from support import Ampzero, Result, wait_for
from tls_support import made_ago

from keys import history, keyfile, operation
from keys.hub import LocalHub
from keys.identities import load_identities
from keys.operation import Operation

pytestmark = [
    pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx"),
]


@pytest.fixture
def make(tmp_path: Path, ampzero: Ampzero) -> Iterator[Make]:
    """Gives `make("one")`: an instance that calls and is called, not yet run."""
    made: list[Called] = []

    def new(name: str, **more: Any) -> Called:
        made.append(make_called(ampzero, tmp_path, name, **more))
        return made[-1]

    yield new
    for one in made:
        one.end()


@pytest.fixture
def hub(tmp_path: Path, ampzero: Ampzero) -> Iterator[HubProcess]:
    process = HubProcess(ampzero, tmp_path / "hub-data")
    process.start()
    yield process
    process.stop()


def call(source: Called, target: str, path: str = "/who", *words: str) -> Result:
    return source.ampzero("call", "--from", source.folder, target, path, *words)


def both_ways(one: Called, other: Called) -> None:
    for source, target in ((one, other), (other, one)):
        done = call(source, target.id, "/who/a%20b?q=1", "--data", "x" * 100_000)
        assert done.code == 0, done
        said = json.loads(done.out)
        assert (said["me"], said["caller"]["id"], said["caller"]["owner"]) == (
            target.id,
            source.id,
            source.owner,
        )
        assert (said["method"], said["query"], said["bytes"]) == ("POST", "q=1", 100_000)


def ask(port: int, request: str, certificate: tuple[Path, Path] | None = None) -> str:
    """The answer to a request as it stands, at a TLS port of 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(*certificate)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw, context.wrap_socket(raw) as secure:
        secure.sendall(request.replace("\n", "\r\n").encode())
        found = b""
        while piece := secure.recv(65536):
            found += piece
    return found.decode()


def test_two_instances_of_the_local_hub_call_each_other(make: Make) -> None:
    one, other = make("one").start(), make("other").start()
    for each in (one, other):
        said = each.until_hub("announced")
        assert said["addresses"][0] == f"127.0.0.1:{each.port + 3}"
        assert each.status()["nat"]["state"] == "off"
    both_ways(one, other)

    # A module calls, with a body and a header of its own.
    request = f"GET /who/relay?to={other.id} HTTP/1.1\nHost: localhost\nConnection: close\n\n"
    answer = json.loads(ask(one.port, request).partition("\r\n\r\n")[2])
    assert (answer["me"], answer["caller"]["id"], answer["method"]) == (other.id, one.id, "PUT")
    assert (answer["query"], answer["word"], answer["bytes"]) == ("x=%20y", "hello", 8)

    # Who calls is data to authorise on.
    assert call(one, other.id, f"/who/friends?friend={one.owner}").out == "welcome\n"
    refused = call(one, other.id, "/who/friends?friend=user-99")
    assert (refused.code, refused.out) == (1, "not for you\n")

    # A browser is no caller, whatever it says; a caller reaches no console.
    forged = "GET /who HTTP/1.1\nHost: localhost\nConnection: close\nAmpzero-Caller: host-1 x\n\n"
    assert '"caller":null' in ask(one.port, forged)
    for path in ("/", "/login", "/_ampzero/status", "/_ampzero/judge", "/healthz", "/favicon.svg"):
        assert json.loads(call(one, other.id, path, "--json").out)["status"] == 404, path

    # Nobody else comes in by that port.
    port = other.port + 3
    plain = "GET /who HTTP/1.1\nHost: x\nConnection: close\n{}\n"
    assert "needs the header" in ask(port, plain.format(""))
    assert "needs a client certificate" in ask(port, plain.format(f"Ampzero-From: {one.id}\n"))
    theirs = (other.folder / "nginx/server.cert", other.folder / "nginx/server.key")
    wrong = ask(port, plain.format(f"Ampzero-From: {one.id}\n"), theirs)
    assert wrong.startswith("HTTP/1.1 403") and f"not of the key that {one.id} announces" in wrong
    ours = (one.folder / "nginx/server.cert", one.folder / "nginx/server.key")
    assert f'"id":"{one.id}"' in ask(port, plain.format(f"Ampzero-From: {one.id}\n"), ours)
    (one.folder.parent / "expired").mkdir()
    expired = made_ago(one.folder.parent / "expired/server.cert", timedelta(days=100))
    assert "certificate has expired" in ask(port, plain.format(f"Ampzero-From: {one.id}\n"), expired)
    lying = plain.format(f"Ampzero-From: {one.id}\nAmpzero-Caller: host-99 x\n")
    assert f'"id":"{one.id}"' in ask(port, lying, ours)

    # Nobody of that name; an instance that has just stopped.
    unknown = call(one, "host-99")
    assert (unknown.code, "host-99" in unknown.err) == (5, True)
    words = ("call", "--from", one.folder, "host-99", "/", "--data", "-")
    assert one.ampzero(*words, stdin="x" * 5_000_000).code == 5
    assert other.stop().code == 0
    gone = call(one, other.id)
    assert (gone.code, f"127.0.0.1:{port}" in gone.err) == (12, True), gone


def test_a_killed_contact_process_comes_back(make: Make) -> None:
    one, other = make("one").start(), make("other").start()
    other.until_hub("announced")
    one.until_hub("announced")
    killed = one.pid("contact")
    kill_nine(killed)
    one.until(lambda: one.process("contact")["pid"] not in (None, killed))
    one.until_hub("announced")
    assert one.process("contact")["restarts"] == 1
    both_ways(one, other)


def test_no_hub_starts_nothing_and_sends_nothing(make: Make) -> None:
    one = make("one").start("--no-hub")
    status = one.status()
    assert [service["name"] for service in status["services"]] == ["ampnode", "nginx"]
    assert status["hub"] == {"state": "off", "why": "nothing is announced: --no-hub was given"}
    assert status["nat"]["state"] == "off"
    with pytest.raises(ConnectionRefusedError):
        ask(one.port + 3, "GET / HTTP/1.1\nHost: x\n\n")
    assert call(one, "host-1").code == 5
    assert not (one.var / "state/contact.json").exists()


def test_the_local_hub_alone_has_no_contact_process(make: Make) -> None:
    one = make("one", contact="{}").start()
    assert [service["name"] for service in one.status()["services"]] == ["ampnode", "nginx"]
    assert one.hub()["why"] == "nothing is announced: the hub is inside of ampzero"


def test_contact_goes_on_and_off_by_a_reload(make: Make) -> None:
    one, other = make("one", contact="{}").start(), make("other").start()
    other.until_hub("announced")
    one.configure("{enabled: true}")
    assert one.ampzero("reload", one.folder).code == 0
    one.until_hub("announced")
    both_ways(one, other)
    one.configure("{enabled: false}")
    assert one.ampzero("reload", one.folder).code == 0
    assert one.hub()["why"] == "nothing is announced: amprun.yaml says contact: {enabled: false}"


def test_by_a_hub_that_is_a_server_down_at_the_start_and_later_up(make: Make, hub: HubProcess) -> None:
    one = make("one", init=("--hub", hub.reference), contact="{}")
    other = make("other", init=("--hub", hub.reference), contact="{}")
    hub.stop()
    one.start()
    other.start()
    assert "hub" in one.until_hub("failing")["why"]
    assert one.status()["state"] == "ready", "a hub that is down is no fault of the instance"
    assert call(one, other.id).code == 12
    hub.start()
    one.until_hub("announced")
    said = other.until_hub("announced")
    assert said["observed"] == "127.0.0.1"
    assert one.status()["nat"]["state"] == "off"
    one.until(lambda: call(one, other.id).code == 0)  # what was found a moment ago is kept for five seconds
    both_ways(one, other)
    hub.stop()
    both_ways(one, other)  # what was seen holds until it expires


@pytest.mark.slow
def test_a_new_tls_key_is_announced_and_works(make: Make) -> None:
    one, other = make("one").start(), make("other").start()
    before = one.until_hub("announced")["pin"]
    other.until_hub("announced")
    both_ways(one, other)
    done = one.ampzero("trust", "renew", one.folder, "--new-key")
    assert done.code == 0, done
    one.until(lambda: one.hub()["pin"] != before)
    one.until(lambda: call(other, one.id).code == 0 and call(one, other.id).code == 0)
    both_ways(one, other)


def test_revoked_keys_are_refused_and_an_alarm_is_raised(make: Make) -> None:
    one, other = make("one").start(), make("other").start()
    one.until_hub("announced")
    other.until_hub("announced")
    found = load_identities(one.folder / "ampnode")
    hub, control = LocalHub.open(), keyfile.load(found.path("host", "control"))
    state = history.verified(hub.operations(one.id)).state
    revoke = Operation(
        action="revoke", seq=state.seq + 1, prev=state.head, time=found.host.issued, signing=None,
        control=state.control,
    )  # fmt: skip
    hub.operate(one.id, operation.sign(revoke, [control]))
    refused = call(one, other.id)
    assert (refused.code, "revoked" in refused.err) == (11, True), refused
    assert call(other, one.id).code == 11
    # At the next announcement, which a restart makes now.
    assert one.ampzero("restart", one.folder, "contact").code == 0
    alarm = one.until_hub("alarm")
    assert "somebody else changed the keys" in alarm["why"]
    shown = one.ampzero("status", one.folder)
    assert (shown.code, "hub: alarm" in shown.out) == (0, True)
    assert any(b"ALARM" in line for line in one.output("contact", "err"))


@pytest.mark.slow
def test_a_host_key_with_a_passphrase(make: Make, tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("six random words\n")
    secret.chmod(0o600)
    one = make("one", init=("--passphrase-file", str(secret))).start()
    said = one.until_hub("off")
    assert "has a passphrase" in said["why"] and "AMPZERO_PASSPHRASE_FILE" in said["why"]
    assert one.stop().code == 0
    one.start(env={"AMPZERO_PASSPHRASE_FILE": str(secret)})
    one.until_hub("announced")
    argv = Path(f"/proc/{one.pid('contact')}/cmdline").read_bytes()
    environment = Path(f"/proc/{one.pid('contact')}/environ").read_bytes()
    assert b"six random" not in argv + environment


def test_an_nginx_conf_of_an_older_ampzero_is_said(make: Make) -> None:
    one = make("one")
    conf = one.folder / "nginx/nginx.conf"
    text = conf.read_text()
    begin = text.index("{% if contact_addresses %}")
    conf.write_text(text[:begin].replace('proxy_set_header Ampzero-Caller "";', "") + "}\n")
    one.start()
    assert "nobody listens on port" in one.until_hub("failing")["why"]
    forged = "GET /who HTTP/1.1\nHost: localhost\nConnection: close\nAmpzero-Caller: host-1 x\n\n"
    assert '"caller":null' in ask(one.port, forged)


def test_stopping_is_quick_while_the_hub_says_nothing(make: Make, hub: HubProcess) -> None:
    one = make("one", init=("--hub", hub.reference), contact="{}")
    hub.stop()
    with socket.create_server(("127.0.0.1", hub.port)):
        one.start()
        one.until_state("contact", "ready")
        assert wait_for(one.socket.exists)
        assert one.stop().code == 0
    ends = [text for _, _, stream, _, text in one.records("contact") if stream == "sys"]
    assert not any(b"KILL" in text for text in ends), ends


def test_files_of_the_contact_process_are_the_users_alone(make: Make) -> None:
    one = make("one").start()
    one.until_hub("announced")
    for name in ("contact.json", "contact.secret"):
        assert (one.var / "state" / name).stat().st_mode & 0o777 == 0o600
    assert one.socket.stat().st_mode & 0o777 == 0o600
    assert one.socket.parent.stat().st_mode & 0o777 == 0o700
