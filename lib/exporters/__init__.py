"""Instances, written as what other keepers run: the table of the exporters."""

from __future__ import annotations

from lib.exporters import procfile, supervisor, systemd
from lib.exporters.base import Exporter

EXPORTERS: dict[str, Exporter] = {
    "systemd": systemd.export,
    "supervisor": supervisor.export,
    "procfile": procfile.export,
}
"""Adding one is one file and one line here."""
