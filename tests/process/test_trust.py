"""`ampzero trust` on the real stores: the system's, in a mount namespace of this test, and those of browsers,
in a home that is thrown away. What believes is asked: curl, openssl, Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from running_support import Running
from support import Ampzero, unused_port, wait_for
from tls_support import site

CHANGED = ("/etc/ssl/certs", "/usr/local/share/ca-certificates")
"""What update-ca-certificates reads and writes of this machine: covered here."""


class Machine:
    """This machine with stores that are forgotten afterwards. Commands in it see what they changed."""

    def __init__(self, folder: Path) -> None:
        script = [f"mount -t tmpfs none {folder}"]
        for number, path in enumerate(CHANGED):
            upper, work = folder / f"upper{number}", folder / f"work{number}"
            script.append(f"mkdir {upper} {work}")
            script.append(
                f"mount -t overlay overlay -o lowerdir={path},upperdir={upper},workdir={work} {path}"
            )
        script.append("echo ready; exec sleep 300")
        self.process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-ec", "; ".join(script)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline() == "ready\n"

    def words(self, *argv: str | Path) -> list[str]:
        """The command line that runs `argv` in it."""
        return ["nsenter", "--mount", f"--target={self.process.pid}", "--", *map(str, argv)]

    def run(self, *argv: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.words(*argv), capture_output=True, text=True, timeout=90)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(60)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    if os.geteuid() != 0 or not shutil.which("update-ca-certificates"):
        pytest.skip("needs root for a mount namespace, and a system like Debian")
    folder = tmp_path / "stores"
    folder.mkdir()
    made = Machine(folder)
    try:
        if not made.ready:
            pytest.skip("no overlay can be mounted here")
        yield made
    finally:
        made.close()


@pytest.fixture
def page(ampzero: Ampzero, tmp_path: Path) -> Iterator[str]:
    """The URL of a page of a running instance."""
    port = unused_port()
    one = Running(ampzero, site(tmp_path, port), tmp_path / "root")
    try:
        one.start()
        yield f"https://localhost:{port}/"
    finally:
        one.end()


def curl(page: str) -> list[str]:
    return ["curl", "-q", "--silent", "--noproxy", "*", "--max-time", "20", page]


def listing(paths: Sequence[str]) -> list[str]:
    return sorted(str(found) for path in paths for found in Path(path).rglob("*"))


def test_the_systems_store(ampzero: Ampzero, machine: Machine, page: str) -> None:
    inside = Ampzero(machine.words())
    before = listing(CHANGED)
    assert machine.run(*curl(page)).returncode == 60
    assert "not trusted by this system" in inside("trust").out
    said = inside("trust", "--install", stdin="n\n")
    assert said.code == 1
    assert "update-ca-certificates" in said.err
    assert "nothing was changed" in said.err
    assert machine.run(*curl(page)).returncode == 60, "asked, and not agreed"
    done = inside("trust", "--install", "--yes")
    assert done.code == 0, done.err
    answer = machine.run(*curl(page))
    assert (answer.returncode, answer.stdout) == (0, "hello")
    ca = next(Path(line.split("(")[1].rstrip(")")) for line in inside("trust").out.splitlines()[:1])
    verify = machine.run("openssl", "verify", "-x509_strict", "-CApath", "/etc/ssl/certs", ca)
    assert verify.returncode == 0, verify.stderr
    assert "nothing to do" in inside("trust", "--install", "--yes").out
    assert inside("trust", "--uninstall", "--yes").code == 0
    assert machine.run(*curl(page)).returncode == 60
    assert "nothing to do" in inside("trust", "--uninstall", "--yes").out
    assert listing(CHANGED) == before, "this machine's own are as they were"


def certutil(*words: str | Path) -> str:
    done = subprocess.run(["certutil", *map(str, words)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def browsers() -> None:
    if shutil.which("certutil") is None:
        pytest.skip("there is no certutil here: apt install libnss3-tools")


@pytest.mark.usefixtures("browsers")
def test_the_databases_of_browsers(ampzero: Ampzero, machine: Machine) -> None:
    inside = Ampzero(machine.words())
    profile = Path.home() / ".mozilla/firefox/abc.default"
    chromium = Path.home() / ".pki/nssdb"
    for folder in (profile, chromium):
        folder.mkdir(parents=True)
        certutil("-N", "-d", f"sql:{folder}", "--empty-password")
    assert "not trusted by Firefox (abc.default)" in inside("trust").out
    done = inside("trust", "--install", "--yes")
    assert done.code == 0, done.err
    assert "trusted by Firefox (abc.default)" in done.out
    for folder in (profile, chromium):
        listed = certutil("-L", "-d", f"sql:{folder}")
        assert "Ampify Zero local CA" in listed
        assert "C,," in listed
        subject = certutil("-L", "-d", f"sql:{folder}", "-n", _name(listed))
        assert "Name Constraints" in subject
    assert inside("trust", "--uninstall", "--yes").code == 0
    assert "Ampify Zero" not in certutil("-L", "-d", f"sql:{profile}")
    assert "Ampify Zero" not in certutil("-L", "-d", f"sql:{chromium}")


def _name(listed: str) -> str:
    line = next(line for line in listed.splitlines() if line.startswith("Ampify Zero"))
    return line.rsplit(maxsplit=1)[0].strip()


def dumped(chromium: str, page: str, profile: Path) -> str:
    """The page as a browser of this home shows it; no flag makes it believe anything."""
    argv = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--no-proxy-server",
            f"--user-data-dir={profile}", "--dump-dom", page]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=90)
    return done.stdout + done.stderr


@pytest.mark.usefixtures("browsers")
def test_chromium_shows_the_page_without_a_word(
    ampzero: Ampzero, machine: Machine, page: str, tmp_path: Path
) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium here")
    inside = Ampzero(machine.words())
    assert "ERR_CERT_AUTHORITY_INVALID" in dumped(chromium, page, tmp_path / "before")
    done = inside("trust", "--install", "--yes")
    assert done.code == 0, done.err
    assert "trusted by Chromium" in done.out
    assert (Path.home() / ".pki/nssdb").stat().st_mode & 0o077 == 0
    assert ">hello<" in dumped(chromium, page, tmp_path / "trusting")
    assert inside("trust", "--uninstall", "--yes").code == 0
    assert wait_for(lambda: "ERR_CERT" in dumped(chromium, page, tmp_path / "after"), 60)


def test_printed_is_what_curl_takes(ampzero: Ampzero, page: str, tmp_path: Path) -> None:
    done = ampzero("trust", "--print")
    assert done.code == 0
    file = tmp_path / "ca.pem"
    file.write_text(done.out)
    fingerprint = subprocess.run(
        ["openssl", "x509", "-in", file, "-noout", "-fingerprint", "-sha256"], capture_output=True, text=True
    ).stdout.partition("=")[2]
    assert f"SHA-256 {fingerprint.strip()}\n" in done.err
    assert "localhost, ampzero.internal, 127.0.0.0/8, ::1/128 and nothing else" in done.err
    answer = subprocess.run([*curl(page), "--cacert", str(file)], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (0, "hello")


def test_two_things_at_once(ampzero: Ampzero) -> None:
    assert ampzero("trust", "--install", "--print").code == 2
    assert ampzero("trust", "renew", "--if-due", "--new-key").code == 2
