"""Programs that check their own configuration (nginx -t), run with files that are not in place yet."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from lib.errors import ConfigError
from lib.supervisor.spec import ServiceSpec

CHECK_TIME = 30
"""Seconds that a program may take to check its configuration."""


def run_check(
    service: ServiceSpec, argv: tuple[str, ...], beside: Mapping[str, Path], hint: str, cwd: str = ""
) -> None:
    """Run `argv` with the files `beside` in place of those that it names; `hint` says what to do.

    Raises: ConfigError with the first line of what it says.
    """
    try:
        done = subprocess.run(
            [str(beside.get(word, word)) for word in argv], cwd=cwd or service.processes[0].cwd,
            capture_output=True, text=True, errors="replace", timeout=CHECK_TIME, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(
            f"{service.name}: `{' '.join(argv)}` cannot be run: {error}", "see: ampzero doctor"
        ) from error
    if done.returncode:
        # What is wrong stands first; the last line of most only says that it is wrong.
        said = next(iter((done.stderr or done.stdout).strip().splitlines()), f"exit code {done.returncode}")
        for place, path in beside.items():
            said = said.replace(str(path), place)
        raise ConfigError(f"{service.name}: `{' '.join(argv)}` refuses the new configuration: {said}", hint)
