"""Certificates by ACME, from Pebble: got, shown, renewed in time, and what becomes of it when that fails."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from acme_support import Pebble, pebble
from running_support import Running
from support import Ampzero, unused_port, wait_for
from tls_support import Load, made_ago, shown, site

from keys.datafolder import data_folder
from keys.tls.certificate import names_in

NAME = "www.shop.test"


def settings(one: Pebble, *names: str) -> str:
    """`tls` of amprun.yaml."""
    given = {"names": list(names or (NAME,)), "directory": one.directory, "ca": str(one.ca),
             "email": "me@shop.test", "agree": True, "port": one.asks_on}  # fmt: skip
    return f"tls: {json.dumps({'acme': given})}\n"


@contextmanager
def instance(ampzero: Ampzero, folder: Path, more: str) -> Iterator[tuple[Running, int]]:
    port = unused_port()
    one = Running(ampzero, site(folder, port, more), folder / "root")
    try:
        one.start()
        yield one, port
    finally:
        one.end()


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}


def test_a_certificate_is_got_shown_and_kept(ampzero: Ampzero, tmp_path: Path) -> None:
    with pebble(tmp_path / "pebble") as acme:
        names = (NAME, "shop.test")
        with instance(ampzero, tmp_path, settings(acme, *names)) as (one, port):
            one.until(lambda: names_in(shown(port)) == list(names), 60)
            root = acme.root(tmp_path)
            curl = ["curl", "-q", "--silent", "--noproxy", "*", "--cacert", str(root),
                    "--connect-to", f"{NAME}:{port}:127.0.0.1:{port}", f"https://{NAME}:{port}/"]  # fmt: skip
            done = subprocess.run(curl, capture_output=True, text=True, timeout=60)
            assert (done.returncode, done.stdout) == (0, "hello"), done.stderr
            status = one.status()["certificate"]
            assert (status["source"], status["problem"]) == ("acme", "")
            said = ampzero("status", one.folder).out
            assert f"certificate: by ACME, for {NAME}, shop.test, until" in said
            found = modes(one.var / "state/tls/acme")
            assert found == {"account.key": 0o600, "account.json": 0o600,
                             "server.key": 0o600, "server.cert": 0o644}  # fmt: skip
            assert not list((one.var / "state/tls/challenges").iterdir())
            assert acme.orders() == 1
            # Everything else on that port is sent to the other one.
            plain = ["curl", "-q", "--silent", "--noproxy", "*", "--output", "/dev/null", "--write-out",
                     "%{http_code} %{redirect_url}", f"http://127.0.0.1:{acme.asks_on}/a?b=c"]  # fmt: skip
            answer = subprocess.run(plain, capture_output=True, text=True, timeout=60).stdout
            assert answer == f"308 https://127.0.0.1:{port}/a?b=c"
            assert ampzero("stop", one.folder).code == 0
            acme.process.kill()
            one.start()
            assert names_in(shown(port)) == list(names), "what was got is kept, and nobody is asked"
            assert ampzero("reload", one.folder).out == "nothing changed\n"


@pytest.mark.slow
def test_renewed_in_time_with_the_same_key_and_no_request_lost(ampzero: Ampzero, tmp_path: Path) -> None:
    with (
        pebble(tmp_path / "pebble", validity=75) as acme,
        instance(ampzero, tmp_path, settings(acme)) as (one, port),
    ):
        leaf = shown(port).public_key()
        one.until(lambda: names_in(shown(port)) == [NAME], 60)
        first = shown(port)
        load = Load(port, acme.root(tmp_path), NAME)
        with load.running():
            one.until(lambda: shown(port).serial_number != first.serial_number, 90)
            seen = load.answered
            assert wait_for(lambda: load.answered > seen + 100)
        second = shown(port)
        assert load.failures == []
        assert first.public_key() == second.public_key() == leaf
        left = first.not_valid_after_utc - second.not_valid_before_utc
        assert left.total_seconds() > 0, "before the first had ended"
        assert acme.orders() >= 2


def test_a_name_that_leads_elsewhere_is_said_and_what_is_shown_stays(
    ampzero: Ampzero, tmp_path: Path
) -> None:
    with pebble(tmp_path / "pebble") as acme:
        acme.lead(NAME, "255.255.255.255")  # the kernel makes no connection there, and sends nothing
        with instance(ampzero, tmp_path, settings(acme)) as (one, port):
            before = shown(port)
            one.until(lambda: "could not check" in one.status()["certificate"]["problem"], 90)
            status = one.status()["certificate"]
            assert NAME in status["problem"]
            assert 30 < status["due"] - time.time() < 100, "tried again, but not at once"
            assert shown(port) == before
            assert not list((one.var / "state/tls/challenges").iterdir())
            acme.lead(NAME, "127.0.0.1")
            done = ampzero("trust", "renew", one.folder)
            assert done.code == 0, done.err
            assert names_in(shown(port)) == [NAME]
            assert one.status()["certificate"]["problem"] == ""


def test_the_old_certificate_stays_when_the_server_is_away(ampzero: Ampzero, tmp_path: Path) -> None:
    with (
        pebble(tmp_path / "pebble") as acme,
        instance(ampzero, tmp_path, settings(acme)) as (one, port),
    ):
        one.until(lambda: names_in(shown(port)) == [NAME], 60)
        before = shown(port)
        acme.process.kill()
        acme.process.wait(60)
        done = ampzero("trust", "renew", one.folder)
        assert done.code == 12, done
        assert "cannot be reached" in done.err
        assert shown(port) == before
        assert "cannot be reached" in one.status()["certificate"]["problem"]
        assert "cannot be reached" in ampzero("status", one.folder).out


def test_a_server_that_forgot_the_account_gets_another(ampzero: Ampzero, tmp_path: Path) -> None:
    with pebble(tmp_path / "pebble") as acme, instance(ampzero, tmp_path, settings(acme)) as (one, port):
        one.until(lambda: names_in(shown(port)) == [NAME], 60)
        before = shown(port)
        account = one.var / "state/tls/acme/account.json"
        known = json.loads(account.read_text())
        account.write_text(json.dumps({**known, "uri": known["uri"] + "0"}))
        done = ampzero("trust", "renew", one.folder)
        assert done.code == 0, done.err
        assert shown(port) != before
        assert json.loads(account.read_text()) == known, "the server knows it by its key"


def garbage(kind: str) -> Callable[[ssl.SSLSocket], None]:
    """A server that is none."""

    def serve(stream: ssl.SSLSocket) -> None:
        stream.recv(4096)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        if kind == "long":
            stream.sendall(head + b"Content-Length: 20000000\r\n\r\n" + b"[" * 20_000_000)
        elif kind == "list":
            stream.sendall(head + b"Content-Length: 2\r\n\r\n[]")
        elif kind == "text":
            stream.sendall(head + b"Content-Length: 5\r\n\r\nhello")
        elif kind == "empty":
            stream.sendall(head + b"Content-Length: 2\r\n\r\n{}")

    return serve


@pytest.mark.parametrize("kind", ["long", "list", "text", "empty", "silent"])
def test_a_server_that_speaks_no_acme(ampzero: Ampzero, tmp_path: Path, kind: str) -> None:
    pair = made_ago(tmp_path / "garbage.cert", timedelta())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    serve = garbage(kind)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ended = threading.Event()

        def loop() -> None:
            while not ended.is_set():
                try:
                    plain, _ = listener.accept()
                except OSError:
                    return
                try:
                    with plain, context.wrap_socket(plain, server_side=True) as stream:
                        serve(stream)
                except OSError:
                    continue

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        given = {"names": [NAME], "directory": f"https://localhost:{port}/dir", "agree": True,
                 "port": unused_port(), "ca": str(data_folder() / "ca/ca.pem")}  # fmt: skip
        with instance(ampzero, tmp_path, f"tls: {json.dumps({'acme': given})}\n") as (one, own):
            before = shown(own)
            done = ampzero("trust", "renew", one.folder)
            assert done.code in (11, 12), done
            assert "ACME server" in done.err
            assert "Traceback" not in done.err
            assert shown(own).public_key() == before.public_key()
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(60)


def test_a_server_whose_own_certificate_is_not_trusted(ampzero: Ampzero, tmp_path: Path) -> None:
    with pebble(tmp_path / "pebble") as acme:
        more = settings(acme).replace(str(acme.ca), "/etc/ssl/certs/ca-certificates.crt")
        with instance(ampzero, tmp_path, more) as (one, _):
            done = ampzero("trust", "renew", one.folder)
            assert done.code == 12, done
            assert "certificate verify failed" in done.err
