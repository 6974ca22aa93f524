"""The mapping at the gateway, kept by lib/nat in a thread of its own, and what `status` says of it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

from lib.contact.report import NatReport
from lib.errors import AmpzeroError
from lib.nat.keeper import Keeper
from lib.nat.mapping import Mapping

GRACE = 6.0
"""Seconds for removing the mapping at the end; what is left then ends with its lease."""


class NatKeeper:
    """Keeps `port` mapped from `start` to `stop`; `changed` is called in its thread."""

    def __init__(self, port: int, host_id: str, state_file: Path, changed: Callable[[], None]) -> None:
        self.mapping: Mapping | None = None
        self.problem = ""
        self._tell = changed
        self._keeper = Keeper(port, host_id, state_file, changed=self._changed)
        self._thread = threading.Thread(target=self._run, name="nat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Remove the mapping. Blocks for GRACE seconds at most."""
        self._keeper.stop.set()
        self._thread.join(GRACE)

    def report(self) -> NatReport:
        """For the status."""
        found = self.mapping
        if self.problem:
            return NatReport("none", self.problem)
        if found is None:
            return NatReport("starting", "looking for a gateway")
        state = "none"
        if found.external:
            state = "direct" if found.method == "direct" else "mapped"
        why = found.problem or f"{found.method}: {found.external}, for {found.lease} s"
        return NatReport(state, why, found.method, found.external, found.lease, found.reachable)

    def _changed(self, mapping: Mapping) -> None:
        self.mapping = mapping
        sys.stderr.write(f"nat: {self.report().why}\n")
        self._tell()

    def _run(self) -> None:
        try:
            self._keeper.run()
        except AmpzeroError as error:
            self.problem = error.message
            self._tell()


def switched_off() -> NatReport:
    """Where no packet is sent to a gateway."""
    return NatReport("off", "no port is mapped: it was not asked for, or the hub is on this machine")
