"""The ampnode service: the node runtime in one or more processes, each on a unix socket of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lib.services.base import Service
from lib.supervisor.spec import Probe, ProcessSpec, Stop


class Ampnode(Service):
    """Runs the application of the instance's ampnode/ folder, and the console."""

    kind = "ampnode"
    after = ("redis", "keyspace")
    beside = ("zerodata", "logstore")
    stop = Stop(signal="TERM", timeout=10.0)

    def offers(self) -> dict[str, str]:
        """AMPNODE_SOCKETS: the paths of the processes' sockets, a line each."""
        numbers = range(1, self.config.processes + 1)
        return {"AMPNODE_SOCKETS": "\n".join(str(self._socket(number)) for number in numbers)}

    def processes(self, given: Mapping[str, str]) -> list[ProcessSpec]:
        """`ampzero serve ampnode` for each socket; ready when it says so."""
        env = {"AMPZERO_DEBUG": "1"} if self.context.debug else {}
        specs = []
        for number in range(1, self.config.processes + 1):
            socket = self._socket(number)
            argv = [*self.context.application, "ampnode", "--socket", str(socket)]
            # The supervisor holds the socket, so that a restart loses no request; the process says itself
            # when it is ready, for on that socket its predecessor may still answer.
            specs.append(
                self.process(number, argv, env=env, ready=Probe(kind="notify"), listen=(f"unix:{socket}",))
            )
        return specs

    def _socket(self, number: int) -> Path:
        return self.context.instance.sockets / f"{self.name}.{number}.sock"
