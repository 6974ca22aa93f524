"""Having an instance start with its machine, and again when its supervisor dies: by whatever the host has."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lib.boot import supervisord, systemd
from lib.boot.base import Keeper
from lib.exporters.base import Target


def keeper(target: Target, *, server: bool) -> Keeper:
    """The keeper of this host: systemd where it runs, else supervisord."""
    arguments = ("--server",) if server else ()
    if Path("/run/systemd/system").is_dir() and shutil.which("systemctl"):
        return systemd.Systemd(target, arguments)
    system = None if target.user else Path("/etc/supervisor/conf.d")
    if system is not None and not (system.is_dir() and os.access(system, os.W_OK)):
        system = None
    return supervisord.Supervisord(target, arguments, system)
