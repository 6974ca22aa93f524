"""Plain helpers of the tests: the installed command, deadlines, free ports, processes of this run."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lib.ports import is_free

NOBODY = 65534
"""The user who owns nothing, everywhere."""

RUN_VARIABLE = "TEST_RUN_OF_AMPZERO"
"""In the environment of everything that a test run starts; its value is the run's own. ampzero
hands on no foreign variable that begins with AMPZERO_, so this one does not."""


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str


class Ampzero:
    """The installed `ampzero`, run as a user runs it, with a deadline and without a terminal."""

    def __init__(self, before: Sequence[str] = ()) -> None:
        """`before` is what its command lines begin with, as those of `as_user`."""
        self.before = before
        beside = Path(sys.executable).parent / "ampzero"
        found = str(beside) if beside.exists() else shutil.which("ampzero")
        assert found, "ampzero is not installed beside this Python: pip install -e '.[dev]'"
        self.path = found

    def __call__(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: float = 60,
    ) -> Result:
        """Run it; `env` is added to the environment. Raises: subprocess.TimeoutExpired."""
        done = subprocess.run(
            [*self.before, self.path, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )
        return Result(done.returncode, done.stdout, done.stderr)


def wait_for(condition: Callable[[], object], seconds: float = 30, step: float = 0.02) -> bool:
    """Whether `condition()` became true within `seconds`, which are for a machine that is slow and busy."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(step)
    return True


def _ports() -> Iterator[int]:
    """The ports that the tests of this worker of pytest-xdist may use, again and again, from anywhere on.

    Below those that Linux lends to clients: one whose connection closed keeps its port for a minute, and no
    server can have it. Below the automatic ones of lib/ports, too.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    mine = range(10000 + 10 * worker, 20000, 10 * int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    begin = random.randrange(len(mine))
    while True:
        yield from (*mine[begin:], *mine[:begin])


_PORTS = _ports()


def unused_port() -> int:
    """A TCP port that nobody has, another one at each call; the nine above it are given to nobody else."""
    return next(port for port in _PORTS if is_free(port))


def left_processes(run: str) -> list[str]:
    """`pid command` of every living process that carries `run` in its environment, this one excepted."""
    left = []
    wanted = f"{RUN_VARIABLE}={run}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name == str(os.getpid()):
            continue
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                left.append(f"{folder.name} {command.decode(errors='replace')[:160]}")
        except OSError:
            continue  # it ended while we looked, or it is another user's
    return left


def as_user(number: int = NOBODY) -> list[str]:
    """What a command line begins with that is to run as the user `number`, without any group. Skips the test
    where that cannot be.

    It may read whatever there is (CAP_DAC_READ_SEARCH, capabilities(7)) and nothing more: the checkout, or
    the Python that runs it, may lie in a home that is its owner's alone.
    """
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("becoming another user needs root, and setpriv")
    words = ["setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups",
             "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]  # fmt: skip
    tried = subprocess.run([*words, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"root may not become another user here: {tried.stderr.strip()}")
    return words
