"""Programs that a host must have, from its package manager; their services start neither now nor at boot."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path

from deploy.agent.command import Said, run
from deploy.agent.errors import AgentError

PROGRAMS = ("nginx", "redis-server", "openssl", "ssh-keygen")
PACKAGES = {
    "apt-get": {"nginx": "nginx", "redis-server": "redis-server", "openssl": "openssl",
                "ssh-keygen": "openssh-client", "etcd": "etcd-server"},
    "dnf": {"nginx": "nginx", "redis-server": "redis", "openssl": "openssl", "ssh-keygen": "openssh",
            "etcd": "etcd"},
}  # fmt: skip
"""The package of each program, by package manager in the order of preference."""
POLICY = Path("/usr/sbin/policy-rc.d")
DENY = "#!/bin/sh\n# Ampify Zero's, for the time of an installation.\nexit 101\n"
"""Debian asks this program whether a package may start its service; 101: no (lib/programs/install.py)."""
UNITS = Path("/etc/systemd/system")
"""Debian enables the units of what it installs, by links in the *.wants folders here."""
INSTALL_TIME, DISABLE_TIME = 540.0, 60.0
LOCK_WAIT = "-oDPkg::Lock::Timeout=300"
"""Seconds that apt waits for another installation: a host that was just started installs its updates."""
MISSING = 5


def provide(programs: Iterable[str], *, install: bool, said: Said) -> list[str]:
    """Have all `programs` here; what was done.

    Raises: AgentError that names what is missing, with the command that installs it.
    """
    missing = [name for name in programs if not shutil.which(name)]
    if not missing:
        return []
    manager = next((name for name in PACKAGES if shutil.which(name)), "")
    if not manager:
        raise AgentError(
            f"{', '.join(missing)} is missing, and no apt-get or dnf is here", "install it", MISSING
        )
    names = [PACKAGES[manager].get(name, name) for name in missing]
    argv = [manager, "install", "-y", *(("--no-install-recommends",) if manager == "apt-get" else ()), *names]
    if not install or os.geteuid():
        raise AgentError(f"{', '.join(missing)} is missing", shlex.join(argv), MISSING)
    said(f"installing {', '.join(names)}")
    before = enabled(UNITS)
    _install(manager, argv, said)
    if new := sorted(enabled(UNITS) - before):
        run(["systemctl", "disable", *new], deadline=DISABLE_TIME)
    if left := [name for name in missing if not shutil.which(name)]:
        raise AgentError(f"{', '.join(left)} is still missing after `{shlex.join(argv)}`", "", MISSING)
    return [f"installed {', '.join(names)}"]


def _install(manager: str, argv: list[str], said: Said) -> None:
    # One that is ours was left by an installation that was killed.
    ours = manager == "apt-get" and (not POLICY.exists() or POLICY.read_text(errors="replace") == DENY)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        if ours:
            POLICY.write_text(DENY)
            POLICY.chmod(0o755)
        if manager == "apt-get":
            # An old list of packages is no reason to stop: they may still be had.
            run(["apt-get", "update"], deadline=INSTALL_TIME, env=environment)
        wait = [LOCK_WAIT] if manager == "apt-get" else []
        done = run([*argv, *wait], deadline=INSTALL_TIME, env=environment)
    finally:
        if ours and POLICY.exists() and POLICY.read_text() == DENY:
            POLICY.unlink()
    if done.code:
        for line in done.tail:
            said(line)
        raise AgentError(f"`{shlex.join(argv)}` failed: {done.last}", "see its output above")


def enabled(folder: Path) -> set[str]:
    """The units that systemd starts at boot, where there is a systemd."""
    if not shutil.which("systemctl"):
        return set()
    return {link.name for link in folder.glob("*.wants/*")}
