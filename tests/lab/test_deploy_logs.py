"""`ampzero logs --env`: what all hosts wrote as one, and on as they write; also when one of them is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from deploy_trials import LONG, Trial
from fleet_support import Site, ask
from support import wait_for

from deploy.lab import Host

pytestmark = pytest.mark.root
MODULE = """
from starlette.responses import PlainTextResponse
from starlette.routing import Route

VERSION = "{version}"


def routes(node):
    async def page(request):
        if word := request.query_params.get("word"):
            print("asked for", word, flush=True)
        return PlainTextResponse(VERSION)

    return [Route("/", page)]
"""


class Followed:
    """What `ampzero logs -f --json` has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.records: list[dict[str, Any]] = []

    def read(self) -> None:
        """Until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.records.append(json.loads(line))

    def hosts(self, word: str) -> list[str]:
        """The hosts whose page was asked for a word, in the order of the lines."""
        return [each["host"] for each in self.records if each["text"] == f"asked for {word}"]

    def has(self, host: Host, word: str) -> bool:
        """Whether a host's line is there."""
        return host.name in self.hosts(word)

    def end(self) -> int:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(LONG)


@contextmanager
def following(site: Site, *words: str) -> Iterator[Followed]:
    """`ampzero logs . --env lab -f` in the background."""
    process = subprocess.Popen(
        site.argv("logs", ".", "--env", "lab", "-f", "--json", *words), cwd=site.folder, text=True,
        env=site.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    followed = Followed(process)
    reader = threading.Thread(target=followed.read)
    reader.start()
    try:
        yield followed
    finally:
        process.kill()
        process.wait()
        reader.join(LONG)


def visit(site: Site, host: Host, word: str) -> None:
    assert ask(f"https://{host.address}:{site.port}/version/?word={word}", 10) != "down"


@pytest.mark.slow
def test_the_logs_of_all_hosts_are_followed_as_one(trial: Trial) -> None:
    site = trial.site
    version = trial.next()
    site.commit("ampnode/services/version.py", MODULE.format(version=version))
    site.deploy()
    trial.settle(version)
    one, two, three = site.lab.hosts
    visit(site, two, "before")
    read = site.ampzero("logs", ".", "--env", "lab", "ampnode", "--grep", "asked for before")
    assert read.code == 0 and read.out.count("\n") == 1 and read.out.startswith("host-2 "), read
    with following(site, "ampnode", "-n", "500") as seen:
        assert wait_for(lambda: seen.hosts("before") == ["host-2"], LONG)
        for host in (three, one, two):
            visit(site, host, "after")
            assert wait_for(partial(seen.has, host, "after"), LONG)
        assert seen.hosts("after") == ["host-3", "host-1", "host-2"]
        two.kill()
        for host in (three, one):
            visit(site, host, "left")
        assert wait_for(lambda: sorted(seen.hosts("left")) == ["host-1", "host-3"], LONG)
        assert seen.hosts("before") == ["host-2"] and len(seen.hosts("after")) == 3, "nothing comes twice"
        assert seen.end() in (0, 3)
    two.boot()


@pytest.mark.slow
def test_services_that_nobody_asked_for_are_not_followed(trial: Trial) -> None:
    with following(trial.site, "nginx", "--since", "1h") as seen:
        assert wait_for(lambda: {each["host"] for each in seen.records} != set(), LONG)
        assert {each["service"] for each in seen.records} == {"nginx"}
        assert seen.end() == 0
