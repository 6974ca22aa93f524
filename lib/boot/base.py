"""What every keeper of an instance can do, and how its programs are run."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import Protocol

from lib.errors import AmpzeroError
from lib.exporters.base import Target

HANDED_ON = ("HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "AMPZERO_ROOT")
"""Variables by which an instance finds its folders; a boot does not know those of a user's shell."""
PATIENCE = 60.0
"""Seconds that a program of a keeper may take."""


@dataclass(frozen=True)
class State:
    """What `ampzero boot status` tells. `at_boot` says what the next boot will do."""

    keeper: str
    installed: bool
    runs: bool
    at_boot: str
    detail: str = ""


class Keeper(Protocol):
    """Starts an instance at boot, and again when its supervisor has died."""

    name: str

    def install(self) -> list[str]:
        """Install it and have it start the instance; what was done, a line each. Raises: AmpzeroError."""

    def start(self) -> None:
        """What a boot does. Raises: AmpzeroError."""

    def remove(self) -> list[str]:
        """Stop the instance and undo `install`; what was done, a line each. Raises: AmpzeroError."""

    def state(self) -> State:
        """What is installed, and whether it runs."""


def environment(target: Target) -> dict[str, str]:
    """The variables that the kept command needs."""
    return {"PATH": target.path, **{name: os.environ[name] for name in HANDED_ON if os.environ.get(name)}}


def run_argv(target: Target, arguments: tuple[str, ...]) -> list[str]:
    """The command that is kept up."""
    config = target.instance.config_file
    what = [str(target.instance.directory)] if config.name == "amprun.yaml" else ["-f", str(config)]
    return [*target.launcher, "run", "--no-daemon", *arguments, *what]


def run(*argv: str, stdin: str | None = None, good: tuple[int, ...] = (0,)) -> str:
    """Run a program of a keeper; its output.

    Raises: AmpzeroError when it fails.
    """
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, errors="replace", timeout=PATIENCE * 4,
            check=False, stdin=subprocess.DEVNULL if stdin is None else None,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AmpzeroError(f"{argv[0]}: {error}") from error
    if done.returncode not in good:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise AmpzeroError(f"`{' '.join(argv[:4])}` failed: {said[-1]}")
    return done.stdout
