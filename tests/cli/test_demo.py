"""`scripts/demo`, whole: what a newcomer types first, up to the address that works."""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_support import copy_tool

MAIN = """#!{python}
import sys
sys.path.insert(0, {clone!r})
from ampzero import main
sys.exit(main())
"""


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """A clone whose .venv is there already: it has this one's libraries, and the clone's own code."""
    clone = copy_tool(tmp_path / "clone")
    venv = clone / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    site = next(venv.glob("lib/python*/site-packages"))
    (site / "libraries.pth").write_text(f"{clone}\n{libraries}\n")
    ampzero = venv / "bin/ampzero"
    ampzero.write_text(MAIN.format(python=venv / "bin/python", clone=str(clone)))
    ampzero.chmod(0o755)
    checksum = subprocess.run(
        ["cksum"], stdin=(clone / "pyproject.toml").open(), capture_output=True, text=True, check=True
    )
    (venv / "ampzero-installed").write_text(f"dev {checksum.stdout.strip()} {clone}\n")
    yield clone
    subprocess.run([ampzero, "quit", tmp_path / "kickass"], capture_output=True, check=False)


def demo(clone: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AMPZERO_ROOT": str(clone.parent / "root")}
    return subprocess.run(
        [clone / "scripts/demo", "--yes"], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_demo_ends_with_an_address_that_works_and_runs_twice(clone: Path) -> None:
    done = demo(clone)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    found = re.search(r"curl --cacert (\S+) https://localhost:(\d+)/", done.stdout)
    assert found, done.stdout
    trusted = ssl.create_default_context(cafile=found[1])
    connection = http.client.HTTPSConnection("localhost", int(found[2]), timeout=10, context=trusted)
    connection.request("GET", "/")
    assert connection.getresponse().status == 200
    connection.close()
    ampzero = clone / ".venv/bin/ampzero"
    told = subprocess.run(
        [ampzero, "status", "kickass", "--json"], cwd=clone, capture_output=True, check=True
    )
    assert {each["state"] for each in json.loads(told.stdout)["services"]} == {"ready"}
    again = demo(clone)
    assert again.returncode == 0, again.stderr
    assert "kickass is already running." in again.stderr
    stopped = subprocess.run([ampzero, "stop", "kickass"], cwd=clone, capture_output=True, text=True)
    assert "no process and no port is left" in stopped.stdout
