"""An instance, a lab to deploy it to, and a clean copy of the tool that does it, for tests/lab."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import Result, unused_port, wait_for

from deploy.lab import Host, Lab

ROOT = Path(__file__).resolve().parent.parent
MODULE = """
from starlette.responses import PlainTextResponse
from starlette.routing import Route

VERSION = "{version}"


def routes(node):
    async def page(request):
        return PlainTextResponse(VERSION)

    return [Route("/", page)]
"""
AMPRUN = """
name: shop
port: {port}
services:
  redis: {{}}
  ampnode: {{processes: 2}}
  nginx: {{}}
"""
NODE = "modules:\n  version: {path: /version}\n"


def git(folder: Path, *arguments: str) -> str:
    """What git prints, under a name of the tests' own."""
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def copy_tool(folder: Path) -> Path:
    """The tool as it is in the work tree, committed: a deploy takes only what is."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout.split(b"\0")  # fmt: skip
    for name in filter(None, map(os.fsdecode, listed)):
        source, place = ROOT / name, folder / name
        if source.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", "the tool")
    return folder


def shared_cache() -> Path:
    """Where the wheels of all test runs are: fetching them is what a release takes longest for."""
    folder = Path(tempfile.gettempdir()) / f"ampzero-tests-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@dataclass
class Site:
    """The instance in `folder`, deployed by the copy of the tool in `tool` to the hosts of `lab`."""

    folder: Path
    tool: Path
    lab: Lab
    port: int
    home: Path

    def ampzero(self, *arguments: str, timeout: float = 180) -> Result:
        """Run the copy of the tool as a user does."""
        done = subprocess.run(self.argv(*arguments), cwd=self.folder, env=self.environment, text=True,
                              capture_output=True, timeout=timeout, errors="replace")  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def argv(self, *arguments: str) -> list[str]:
        """The command line of the copy."""
        return [sys.executable, str(self.tool / "ampzero.py"), *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """A home of the test's own; wheels come from the cache that all tests share."""
        return {**os.environ, "HOME": str(self.home), "XDG_DATA_HOME": str(self.home / "data"),
                "XDG_CACHE_HOME": str(self.home / "cache"), "GIT_CONFIG_GLOBAL": "/dev/null"}  # fmt: skip

    def deploy(self, *arguments: str, code: int = 0, timeout: float = 180) -> Result:
        """`ampzero deploy`, which must end with `code`."""
        done = self.ampzero("deploy", ".", "--yes", *arguments, timeout=timeout)
        assert done.code == code, f"{done.code}: {done.out}\n{done.err}"
        return done

    def change(self, version: str) -> None:
        """Commit another version of the page."""
        self.commit("ampnode/services/version.py", MODULE.format(version=version))

    def commit(self, path: str, text: str) -> None:
        """Commit a file with this text."""
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "-q", "--allow-empty", "-m", path)

    def configure(self, **environment: Any) -> None:
        """Commit other keys of the environment in deployment.yaml."""
        write_deployment(self, environment)
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "-q", "--allow-empty", "-m", "deployment")

    def serves(self, host: Host, timeout: float = 10) -> str:
        """The version that a host serves; "closed" for its placeholder page, "down" for no answer."""
        return ask(f"https://{host.address}:{self.port}/version/", timeout)

    def served(self) -> set[str]:
        """What all hosts serve."""
        return {self.serves(host) for host in self.lab.hosts}

    def hosts(self) -> dict[str, Any]:
        """`ampzero hosts --json`."""
        said: dict[str, Any] = json.loads(self.ampzero("hosts", ".", "--json").out)
        return said


def write_deployment(site: Site, environment: dict[str, Any]) -> None:
    """deployment.yaml for the lab."""
    whole: dict[str, Any] = {
        "hosts": [{"name": host.name, "address": f"root@{host.address}"} for host in site.lab.hosts],
        "ssh": {"key": str(site.lab.login.key), "known_hosts": str(site.lab.login.known_hosts)},
    }
    # JSON is YAML.
    text = json.dumps({"environments": {"lab": whole | environment}}, indent=1)
    (site.folder / "deployment.yaml").write_text(text + "\n")


def make_site(folder: Path, tool: Path, lab: Lab, cache: Path) -> Site:
    """An instance made by `init`, committed with the first version of its page; nothing is deployed."""
    home = folder / "home"
    home.mkdir(parents=True)
    (home / "cache").symlink_to(cache)
    site = Site(folder / "shop", tool, lab, unused_port(), home)
    done = subprocess.run(
        site.argv("init", "shop", "--yes", "--dir", str(folder), "--set", f"port={site.port}"), cwd=folder,
        env=site.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (site.folder / "amprun.yaml").write_text(AMPRUN.format(port=site.port))
    (site.folder / "ampnode/ampnode.yaml").write_text(NODE)
    write_deployment(site, {})
    site.change("one")
    return site


def ask(address: str, timeout: float) -> str:
    """The text at an https address whose certificate nobody signed that this machine knows."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(address, timeout=timeout, context=context) as answer:  # noqa: S310 -- https
            return str(answer.read(200).decode())
    except urllib.error.HTTPError as error:
        return "closed" if error.code == 503 else f"error {error.code}"
    except (OSError, ValueError):
        return "down"


@dataclass
class Seen:
    """What users of all hosts saw: (time, host, answer)."""

    answers: list[tuple[float, str, str]] = field(default_factory=list)

    def kinds(self) -> set[str]:
        """Every different answer."""
        return {answer for _, _, answer in self.answers}

    def mixed(self, old: str, new: str) -> list[tuple[float, str, str]]:
        """Answers with the old release that were asked for after somebody got the new one."""
        first = min((moment for moment, _, answer in self.answers if answer == new), default=float("inf"))
        return [each for each in self.answers if each[2] == old and each[0] > first]


@contextmanager
def users(site: Site, pause: float = 0.05) -> Iterator[Seen]:
    """Ask every host again and again, one thread each, until the end; `down` is an answer too."""
    seen, stop = Seen(), threading.Event()

    def visit(host: Host) -> None:
        while not stop.is_set():
            begun = time.monotonic()
            answer = site.serves(host, 10)
            seen.answers.append((begun, host.name, answer))
            stop.wait(pause)

    threads = [threading.Thread(target=visit, args=(host,)) for host in site.lab.hosts]
    for thread in threads:
        thread.start()
    try:
        assert wait_for(lambda: len(seen.answers) >= len(threads))
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
