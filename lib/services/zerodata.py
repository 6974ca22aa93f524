"""The record store of the instance: its own zerodata/zerodata.py, at a unix socket."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lib.services.base import Service
from lib.supervisor.spec import Probe, ProcessSpec


class Zerodata(Service):
    """`zerodata: {}`. One process: SQLite has one writer."""

    kind = "zerodata"

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.context.instance.sockets / f"{self.name}.sock"

    def folders(self) -> list[Path]:
        """The folder of its database."""
        return [self.data]

    def environment(self) -> dict[str, str]:
        """Where it is, and the file with the secret to sign requests with."""
        return {
            "ZERODATA_URL": f"unix:{self.socket}",
            "ZERODATA_SECRET_FILE": str(self.context.secret("zerodata")),
        }

    def processes(self, given: Mapping[str, str]) -> list[ProcessSpec]:
        """One process of the launcher, ready when /healthz answers."""
        argv = [*self.context.application, "zerodata", "--socket", str(self.socket)]
        ready = Probe(kind="http", target=f"http+unix:{self.socket}:/healthz")
        return [self.process(1, argv, env={"ZERODATA_DATA": str(self.data)}, ready=ready)]
