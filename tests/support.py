"""Plain helpers of the tests: the installed command, deadlines, free ports, processes of this run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

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


def wait_for(condition: Callable[[], object], seconds: float = 10, step: float = 0.02) -> bool:
    """Whether `condition()` became true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(step)
    return True


def unused_port() -> int:
    """A TCP port of the loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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
