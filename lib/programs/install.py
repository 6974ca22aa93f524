"""Installs programs through the system's package manager; the services that come with them start neither now
nor at boot.

Owns the order of the commands and runs them; which packages is lookup.py's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lib.errors import AmpzeroError, MissingError
from lib.programs.lookup import MANAGERS, install_argv, package_manager
from lib.programs.program import Program

POLICY = Path("/usr/sbin/policy-rc.d")
"""Debian's invoke-rc.d and deb-systemd-invoke ask this program whether a package may start its service."""
DENY = "#!/bin/sh\n# Ampify Zero's, for the time of an installation.\nexit 101\n"
"""101: not allowed (the policy-rc.d interface, /usr/share/doc/init-system-helpers/README.policy-rc.d.gz)."""
UNITS = Path("/etc/systemd/system")
"""Debian enables the units of what it installs, by links in the *.wants folders here."""
LOCK_TIMEOUT = 300
"""Seconds that apt waits for another installation: a machine that was just started installs its updates."""


def steps(programs: Sequence[Program], manager: str, policy: str, *, root: bool) -> list[list[str]]:
    """The commands that install `programs`, in their order; empty when `manager` has none of them.

    `policy` is a file to put at POLICY meanwhile, empty when there is one already. Clean-up is not in here.
    """
    install = install_argv(programs, manager, root=root)
    if not install or manager != "apt":
        return [install] if install else []
    sudo = [] if root else ["sudo"]
    wait = f"-oDPkg::Lock::Timeout={LOCK_TIMEOUT}"
    quiet = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", *install[len(sudo) :], wait]
    first = [[*sudo, "install", "-m", "755", policy, str(POLICY)]] if policy else []
    return [[*sudo, "apt-get", "update"], *first, quiet]


def install(programs: Sequence[Program]) -> None:
    """Install `programs`; the package manager's output goes to the terminal.

    Raises: MissingError when there is no known package manager, AmpzeroError when a command fails.
    """
    manager = package_manager()
    if not manager:
        raise MissingError(
            f"none of {', '.join(argv[0] for argv in MANAGERS.values())} is here",
            f"install by hand: {', '.join(program.name for program in programs)}",
        )
    root = os.geteuid() == 0
    sudo = [] if root else ["sudo"]
    if not root and manager != "brew":
        become_root(programs, manager)
    with tempfile.TemporaryDirectory() as folder:
        denying = Path(folder) / POLICY.name
        denying.write_text(DENY)
        ours = manager == "apt" and is_ours_to_write(POLICY)
        before = enabled(UNITS)
        try:
            for argv in steps(programs, manager, str(denying) if ours else "", root=root):
                run(argv)
        finally:
            if ours and POLICY.exists() and is_ours_to_write(POLICY):
                run([*sudo, "rm", "-f", str(POLICY)])
    if new := sorted(enabled(UNITS) - before):
        run([*sudo, "systemctl", "disable", "--quiet", *new])


def is_ours_to_write(policy: Path) -> bool:
    """Whether there is no policy, or one that an installation of ours which was killed has left."""
    try:
        return policy.read_text(errors="replace") == DENY
    except FileNotFoundError:
        return True
    except OSError:
        return False


def enabled(folder: Path) -> set[str]:
    """The units that systemd starts at boot, where there is a systemd."""
    return {link.name for link in folder.glob("*.wants/*")} if shutil.which("systemctl") else set()


def become_root(programs: Sequence[Program], manager: str) -> None:
    """Have sudo ask for what it wants, before anything is begun.

    Raises: MissingError with what root types, where this user is not let.
    """
    try:
        code = subprocess.run(["sudo", "true"], check=False).returncode
    except OSError:
        code = 1
    if code:
        typed = " ".join(install_argv(programs, manager, root=True))
        raise MissingError("installing needs root, and sudo does not let this user", f"as root: {typed}")


def run(argv: Sequence[str]) -> None:
    """Run one command on the terminal; all that it says goes to stderr, for it is not our result.

    Raises: AmpzeroError.
    """
    try:
        code = subprocess.run(argv, stdout=2, check=False).returncode
    except OSError as error:
        raise MissingError(f"cannot run {argv[0]}: {error.strerror}") from error
    # An old package list is no reason to stop: the packages may still be had.
    if code and "update" not in argv:
        raise AmpzeroError(f"{' '.join(argv)} failed with exit code {code}", "see its output above")
