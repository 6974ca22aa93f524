"""docs/security.md, "After a stolen laptop": its commands as they stand there, beside a thief with copies."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_support import LIFTED, Served, serving
from support import Ampzero, Result, unused_port

from lib.errors import AmpzeroError, TakenError

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs/security.md"


class Machine:
    """A computer of the user's: a home folder of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(exist_ok=True)
        self.environment = {
            **os.environ, "HOME": str(home), "XDG_DATA_HOME": "", "XDG_CACHE_HOME": "",
            "GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org",
            "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org",
            "PATH": f"{Path(Ampzero().path).parent}{os.pathsep}{os.environ['PATH']}",
        }  # fmt: skip

    def run(self, *argv: str | Path, cwd: Path | None = None, **more: str) -> Result:
        done = subprocess.run(
            [*map(str, argv)], cwd=cwd or self.home, env={**self.environment, **more}, text=True,
            capture_output=True, timeout=120, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def well(self, *argv: str | Path, cwd: Path | None = None) -> str:
        done = self.run(*argv, cwd=cwd)
        assert done.code == 0, done.err
        return done.out


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "hub", *LIFTED) as served:
        yield served


def test_a_stolen_laptop_opens_nothing_any_more(tmp_path: Path, hub: Served) -> None:
    laptop, other = Machine(tmp_path / "laptop"), Machine(tmp_path / "other")
    reference = f"{hub.url}#{hub.reference.fingerprint}"
    settings = ("--set", f"amprun_root_directory={laptop.home / 'var'}", "--set", f"port={unused_port()}")
    laptop.well("ampzero", "init", "shop", "--yes", "--dir", laptop.home, "--hub", reference, *settings)
    stick = tmp_path / "stick.key"
    laptop.well("ampzero", "keys", "recovery", "shop", stick)
    laptop.well("git", "-C", "shop", "commit", "-qam", "recovery key")
    other.well("git", "clone", "-q", laptop.home / "shop", other.home / "shop")
    shutil.copytree(laptop.home, tmp_path / "stolen", symlinks=True)
    thief = Machine(tmp_path / "stolen")
    login = tmp_path / "id.pub"
    thief.well("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "id")
    thief.well("ampzero", "keys", "ssh-cert", "shop", "--key", login)
    assert thief.run("ampzero", "hub", "announce", "shop").code == 0

    [steps] = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    done = other.run("sh", "-eu", "-c", steps, NAME="shop", STICK=str(stick))
    assert done.code == 0, done.err

    # He can neither change keys nor say where the host is.
    for words in ("rotate shop user", "rotate shop host", "rotate shop user --control"):
        found = thief.run("ampzero", "keys", *words.split())
        assert found.code == TakenError.exit_code and "SOMEBODY ELSE CHANGED THE KEYS" in found.err, (
            words,
            found,
        )
    found = thief.run("ampzero", "keys", "recover", "shop", "host")
    assert found.code == AmpzeroError.exit_code and "is no control key of host-1" in found.err
    assert thief.run("ampzero", "hub", "announce", "shop").code == AmpzeroError.exit_code
    assert other.run("ampzero", "hub", "announce", "shop").code == 0
    # The certificate that he had made is on the list, as sshd reads it.
    certificate = tmp_path / "id-cert.pub"
    assert certificate.is_file()
    asked = other.run("ssh-keygen", "-Q", "-f", other.home / "shop.krl", certificate)
    assert asked.code == 1 and "REVOKED" in asked.out
    # No secret of the laptop's is among the new ones, and the thief's pin is not the host's any more.
    for path in (other.home / "shop/ampnode").glob("*.key"):
        stolen = thief.home / "shop/ampnode" / path.name
        assert path.name == "hub.public.key" or path.read_bytes() != stolen.read_bytes()
    made = sorted(
        (laptop.home / "var/shop/state/tls/leaf").rglob("*.key"), key=lambda path: path.stat().st_mtime
    )
    assert made and made[-1].read_bytes() != (thief.home / "shop/nginx/server.key").read_bytes()
    assert other.well("git", "-C", "shop", "status", "--porcelain") == ""
