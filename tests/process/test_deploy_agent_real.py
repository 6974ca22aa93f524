"""A host's steps with the real ampzero, nginx and Redis: what users get, from the old release to the new."""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_support import ROOT, Site
from support import Ampzero, wait_for

from deploy.agent.errors import AgentError

MODULE = """
from starlette.responses import PlainTextResponse
from starlette.routing import Route

def routes(node):
    async def page(request):
        return PlainTextResponse("{version}")

    return [Route("/", page)]
"""
PROGRAM = f"""#!/bin/sh
exec {sys.executable} -E -P {ROOT / "ampzero.py"} "$@"
"""
NODE = "modules:\n  version: {path: /version}\n"
pytestmark = [
    pytest.mark.skipif(
        not shutil.which("nginx") or not shutil.which("redis-server"), reason="no nginx or redis"
    ),
]


class Users:
    """Somebody who asks for a page all the time; `got` counts the answers: the text, or the status."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.got: Counter[str] = Counter()
        self.order: list[str] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, daemon=True)

    def __enter__(self) -> Users:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(60)

    def _ask_on(self) -> None:
        while not self._end.is_set():
            said = get(self._port)
            self.got[said] += 1
            if self.order[-1:] != [said]:
                self.order.append(said)
            time.sleep(0.005)


def get(port: int) -> str:
    """The page's text, or its status where that is not 200, or the error."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
    try:
        connection.request("GET", "/version/")
        answer = connection.getresponse()
        text = answer.read().decode()
        return text if answer.status == 200 else str(answer.status)
    except OSError as error:
        return type(error).__name__
    finally:
        connection.close()


class RealSite(Site):
    """A host whose releases are of a real instance, with a page that says its version."""

    def __init__(self, folder: Path, ampzero: Ampzero, port: int) -> None:
        super().__init__(folder, program=PROGRAM.replace("{", "{{").replace("}", "}}"))
        self.port = port
        self._instance = folder / "demo"
        done = ampzero("init", "demo", "--dir", folder, "--yes", "--set", f"port={port}")
        assert done.code == 0, done
        (self._instance / "ampnode/services/hello.py").unlink()
        services = "  redis: {}\n  ampnode: {processes: 2}\n  nginx: {}\n"
        config = f"name: demo\nport: {port}\nservices:\n{services}"
        (self._instance / "amprun.yaml").write_text(config)

    def version(self, text: str, *, compatible: bool = False, node: str = NODE) -> dict[str, Any]:
        """A release that says `text`."""
        (self._instance / "ampnode/ampnode.yaml").write_text(node)
        (self._instance / "ampnode/services/version.py").write_text(MODULE.format(version=text))
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=self._instance,
            capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip
        paths = [name for name in listed if (self._instance / name).is_file()]
        files = {name: (self._instance / name).read_text() for name in paths}
        return self.release(files, compatible=compatible, policy={"health_deadline": 60, "drain": 5})


@pytest.fixture
def site(tmp_path: Path, ampzero: Ampzero, free_port: Callable[[], int]) -> Iterator[RealSite]:
    one = RealSite(tmp_path, ampzero, free_port())
    one.set_up()
    yield one
    program = one.layout.link("ampify") / "bin/ampzero"
    if program.exists():
        env = {"AMPZERO_ROOT": str(one.layout.var), "PATH": os.defpath, "HOME": str(tmp_path)}
        subprocess.run(
            [program, "quit", one.layout.link("instance")], env=env, capture_output=True, check=False
        )


def test_an_incompatible_release_shows_the_placeholder_between_old_and_new(site: RealSite) -> None:
    site.deploy(site.version("one"))
    assert get(site.port) == "one"
    with Users(site.port) as users:
        assert wait_for(lambda: users.got["one"] > 5)
        site.deploy(site.version("two"))
        assert wait_for(lambda: users.got["two"] > 5)
    assert users.order == ["one", "503", "two"], users.got
    assert site("hello")["state"] == "open"


def test_a_compatible_release_fails_no_request(site: RealSite) -> None:
    site.deploy(site.version("one"))
    with Users(site.port) as users:
        assert wait_for(lambda: users.got["one"] > 5)
        new = site.version("two", compatible=True)
        site.decided(new)
        for op in ("swap", "start", "finish"):
            site(op)
        assert wait_for(lambda: users.got["two"] > 5)
    assert set(users.got) == {"one", "two"}, users.got
    services = site("status")["services"]
    assert services["release"] == new["release"]


def test_a_release_that_never_becomes_ready_leaves_the_host_closed(site: RealSite) -> None:
    site.deploy(site.version("one"))
    site.decided(site.version("two", node="modules: 7\n"))
    site("close")
    site("swap")
    with pytest.raises(AgentError):
        site("start")
    assert get(site.port) == "503"
    assert site("status")["state"] == "closed"
    assert "ampnode" in site("status")["pending"]["error"]
    site.deploy(site.version("three"))
    assert get(site.port) == "three"
