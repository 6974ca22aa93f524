"""Programs that an instance needs: where they are, which version, and what installs them.

Owns the look-up and the words of the install command. Installs nothing: install.py does.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lib.programs.program import Program

VERSION = re.compile(r"\d+(?:\.\d+)+")
VERSION_TIMEOUT = 10.0
"""Seconds that a program may take to say its version."""

TOOLS = (
    Program("git", ("git", "--version"), {"apt": "git", "dnf": "git", "brew": "git"}, (2, 20)),
    Program(
        "openssl", ("openssl", "version"), {"apt": "openssl", "dnf": "openssl", "brew": "openssl"}, (1, 1, 1)
    ),
)
"""What ampzero itself wants beside the services' programs."""

MANAGERS: Mapping[str, tuple[str, ...]] = {
    "apt": ("apt-get", "install", "-y", "--no-install-recommends"),
    "dnf": ("dnf", "install", "-y"),
    "brew": ("brew", "install"),
}
"""Package managers in the order of preference; the argv to which packages are added."""


@dataclass(frozen=True)
class Found:
    """What is known about one program on this machine; `path` and `version` are empty where it is not."""

    program: Program
    path: str = ""
    version: str = ""

    @property
    def too_old(self) -> bool:
        """Whether a version was read and is below the minimum."""
        return bool(self.version) and version_tuple(self.version) < self.program.minimum

    @property
    def good(self) -> bool:
        """Whether the program is there, runs, and is new enough."""
        return bool(self.path and self.version) and not self.too_old


def version_tuple(version: str) -> tuple[int, ...]:
    """`1.22.1` as (1, 22, 1)."""
    return tuple(int(part) for part in version.split("."))


def locate(program: Program) -> str:
    """The program's path: PATH first, then the folders that a user's PATH often lacks; or empty."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *program.also_in])
    return shutil.which(program.name, path=path) or ""


def look_up(program: Program) -> Found:
    """Find the program and ask it for its version (this runs it)."""
    path = locate(program)
    if not path:
        return Found(program)
    try:
        answer = subprocess.run(
            [path, *program.version_argv[1:]],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=VERSION_TIMEOUT, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return Found(program, path)
    match = VERSION.search(answer.stdout[:4096].decode(errors="replace"))
    return Found(program, path, match.group() if match else "")


def package_manager() -> str:
    """apt, dnf or brew, whichever this machine has; empty when none."""
    return next((name for name, argv in MANAGERS.items() if shutil.which(argv[0])), "")


def install_argv(programs: Iterable[Program], manager: str, *, root: bool) -> list[str]:
    """The command that installs `programs` with `manager`; empty when it has none of them.

    `root` says whether we are root already; brew never wants to be.
    """
    packages = sorted({program.packages[manager] for program in programs if manager in program.packages})
    if not packages:
        return []
    sudo = [] if root or manager == "brew" else ["sudo"]
    return [*sudo, *MANAGERS[manager], *packages]


def install_hint(programs: Sequence[Program]) -> str:
    """What a person types to install `programs` on this machine."""
    manager = package_manager()
    argv = install_argv(programs, manager, root=os.geteuid() == 0) if manager else []
    if argv:
        return f"install it with: {' '.join(argv)}"
    names = ", ".join(program.name for program in programs)
    return f"install {names} and put it on the PATH"
