"""Ports of this machine that the world can reach through a NAT: found, mapped, kept and removed.

A contact process gives `Keeper` a port and is told each new `Mapping`. Nothing here runs, or sends a packet,
unless it is called.
"""

from __future__ import annotations

from lib.nat.keeper import Keeper
from lib.nat.mapping import Mapping

__all__ = ["Keeper", "Mapping"]
