"""Plain helpers of the tests that run on a lab."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from deploy.lab import Host, Lab
from deploy.lab.network import NAMESPACES
from deploy.lab.tools import check
from lib.errors import AmpzeroError

MakeLab = Callable[..., Lab]
"""`make_lab(3, opt_size=...)`: a booted lab, gone at the end of the test."""


def why_not() -> str:
    """Why this machine can have no lab; empty when it can."""
    try:
        check()
    except AmpzeroError as error:
        return f"no lab here: {error.message}"
    return ""


def over_ssh(
    lab: Lab, host: Host, command: str, *options: str, timeout: float = 30
) -> subprocess.CompletedProcess[str]:
    """Run a shell command on a host as a user would, through its sshd."""
    argv = ["ssh", "-F", str(lab.login.config), "-o", "BatchMode=yes", *options, host.name, command]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)


def left_of(name: str) -> list[str]:
    """What there still is of a lab on this machine, by every name that it had."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    left = [mount for mount in mounts if f"/{name}/" in mount]
    left += [str(path) for path in NAMESPACES.glob(f"azl.{name}*")]
    left += [str(path) for path in Path("/run/ampzero-lab").glob(name)]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"/{name}/" in (folder / "cmdline").read_text():
                left.append(str(folder))
        except OSError:
            continue  # it ended while we looked
    return left
