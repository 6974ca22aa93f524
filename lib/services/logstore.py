"""The logstore service: keeps the log records of the instance and answers searches, on a unix socket."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lib.services.base import Service
from lib.supervisor.spec import Probe, ProcessSpec, Stop


class Logstore(Service):
    """Runs the application of the instance's logstore/ folder; it reads the log segments itself."""

    kind = "logstore"
    stop = Stop(signal="TERM", timeout=10.0)

    def folders(self) -> list[Path]:
        """Where its database is."""
        return [self.data]

    def environment(self) -> dict[str, str]:
        """Where it is, and the file with the secret to sign requests with."""
        secret = self.context.secret("logstore")
        return {"LOGSTORE_URL": f"unix:{self._socket}", "LOGSTORE_SECRET_FILE": str(secret)}

    def processes(self, given: Mapping[str, str]) -> list[ProcessSpec]:
        """`ampzero serve logstore`; ready when /healthz answers. One process: SQLite has one writer."""
        argv = [*self.context.application, "logstore", "--socket", str(self._socket)]
        env = {"LOGSTORE_DATA": str(self.data), "LOGSTORE_SHIP_FROM": str(self.context.instance.logs)}
        probe = Probe(kind="http", target=f"http+unix:{self._socket}:/healthz", interval=0.1)
        return [self.process(1, argv, env=env, ready=probe)]

    @property
    def _socket(self) -> Path:
        return self.context.instance.sockets / f"{self.name}.sock"
