"""Certificates of a running instance: renewed in time, no request lost, and never for something worse."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from running_support import Running
from support import Ampzero, unused_port, wait_for
from tls_support import Load, due_in, made_ago, shown, site

from keys.datafolder import data_folder


class Site(Running):
    """An instance of nginx alone, with a page that says hello."""

    port: int

    @property
    def ca(self) -> Path:
        return data_folder() / "ca/ca.pem"

    @property
    def serial(self) -> int:
        return shown(self.port).serial_number


@pytest.fixture
def one(ampzero: Ampzero, tmp_path: Path) -> Iterator[Site]:
    port = unused_port()
    made = Site(ampzero, site(tmp_path, port), tmp_path / "root")
    made.port = port
    yield made
    made.end()


def test_a_certificate_that_becomes_due_is_renewed_and_no_request_is_lost(one: Site) -> None:
    made_ago(one.folder / "nginx/server.cert", due_in(12))
    # From the file: what nginx shows may have been renewed a moment after the start.
    before = x509.load_pem_x509_certificate((one.folder / "nginx/server.cert").read_bytes())
    one.start()
    status = one.status()["certificate"]
    assert (status["source"], status["problem"]) == ("local", "")
    with Load(one.port, one.ca).running() as load:
        assert wait_for(lambda: one.serial != before.serial_number, 60)
        after = shown(one.port)
        seen = load.answered
        assert wait_for(lambda: load.answered > seen + 200, 30)
    assert load.failures == []
    assert after.public_key() == before.public_key()
    assert after.not_valid_after_utc - before.not_valid_after_utc > timedelta(days=59)
    assert one.ampzero("reload", one.folder).out == "nothing changed\n"
    assert one.status()["certificate"]["expires"] == after.not_valid_after_utc.timestamp()


def test_renewed_by_hand_again_and_again_under_load(one: Site) -> None:
    one.start()
    pid = one.pid("nginx")
    serials = {one.serial}
    with Load(one.port, one.ca).running() as load:
        for _ in range(5):
            done = one.ampzero("trust", "renew", one.folder)
            assert done.code == 0, done.err
            serials.add(one.serial)
    assert load.failures == []
    assert len(serials) == 6
    assert one.pid("nginx") == pid
    pinned = shown(one.port).public_key()
    assert one.ampzero("trust", "renew", one.folder, "--new-key").code == 0
    assert shown(one.port).public_key() != pinned


def test_a_renewal_killed_at_any_moment_leaves_something_that_works(one: Site) -> None:
    one.start()
    pinned = shown(one.port).public_key()
    whole = time.monotonic()
    assert one.ampzero("trust", "renew", one.folder).code == 0
    whole = time.monotonic() - whole
    before = one.serial
    with Load(one.port, one.ca).running() as load:
        for step in range(12):
            argv = [one.ampzero.path, "trust", "renew", str(one.folder)]
            process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with suppress(subprocess.TimeoutExpired):
                process.wait(whole * step / 11)
            process.kill()
            process.wait(10)
            assert shown(one.port).public_key() == pinned, step
        assert one.ampzero("trust", "renew", one.folder).code == 0
    assert load.failures == []
    assert one.serial != before
    assert one.ampzero("reload", one.folder).out == "nothing changed\n"
    one.stop()
    one.start()
    assert shown(one.port).public_key() == pinned


def test_one_that_nginx_refuses_leaves_the_old_one_and_what_was_edited_meanwhile_alone(one: Site) -> None:
    one.start()
    before = one.serial
    conf = one.var / "conf/nginx.conf"
    rendered = conf.read_text()
    # Somebody edits the instance's files just now: a renewal does not take that up.
    (one.folder / "nginx/nginx.conf").write_text("half a file {")
    assert one.ampzero("trust", "renew", one.folder).code == 0
    assert one.serial != before
    before = one.serial
    # What runs is damaged by hand: nginx refuses it, and goes on with what it has.
    conf.write_text(conf.read_text() + "no_such_directive on;\n")
    done = one.ampzero("trust", "renew", one.folder)
    assert done.code == 4, done
    assert "no_such_directive" in done.err
    assert one.serial == before
    conf.write_text(rendered)
    assert one.ampzero("trust", "renew", one.folder).code == 0
    assert one.serial != before


def test_a_renewal_that_fails_is_said_and_the_old_certificate_stays(one: Site) -> None:
    made_ago(one.folder / "nginx/server.cert", due_in(5))
    one.start()
    before = one.serial
    key = data_folder() / "ca/ca.key"
    good = key.read_bytes()
    key.write_bytes(b"damaged")
    try:
        one.until(lambda: one.status()["certificate"]["problem"], 30)
        status = one.status()["certificate"]
        assert "ca.key is not a private key" in status["problem"]
        assert "certificate:" in one.ampzero("status", one.folder).out
        assert one.serial == before
    finally:
        key.write_bytes(good)
    done = one.ampzero("trust", "renew", one.folder)
    assert done.code == 0, done
    assert one.status()["certificate"]["problem"] == ""
    assert one.serial != before


def test_the_pin_of_init_holds_over_renewals(ampzero: Ampzero, tmp_path: Path) -> None:
    port = unused_port()
    settings = ("--set", f"root={tmp_path / 'root'}", "--set", f"port={port}")
    assert ampzero("init", "kickass", "--yes", "--dir", tmp_path, *settings).code == 0
    one = Running(ampzero, tmp_path / "kickass", tmp_path / "root")
    pin = next(
        line.removeprefix("pin: ")
        for line in (one.folder / "nginx/server.pin").read_text().splitlines()
        if line.startswith("pin: ")
    )
    curl = ("curl", "-q", "--silent", "--noproxy", "*", "--max-time", "20", "--output", "/dev/null")
    url = f"https://localhost:{port}/robots.txt"
    try:
        one.start("--only", "nginx")
        before = shown(port).serial_number
        ca = ("--cacert", str(data_folder() / "ca/ca.pem"))
        for renewals in range(2):
            assert subprocess.run([*curl, *ca, "--pinnedpubkey", pin, url]).returncode == 0, renewals
            assert ampzero("trust", "renew", one.folder).code == 0
        assert shown(port).serial_number != before
        assert f"pin: {pin}\n" in (one.var / "state/tls/server.pin").read_text()
        assert ampzero("trust", "renew", one.folder, "--new-key").code == 0
        assert subprocess.run([*curl, *ca, "--pinnedpubkey", pin, url]).returncode == 90
        assert f"pin: {pin}\n" not in (one.var / "state/tls/server.pin").read_text()
    finally:
        one.end()
