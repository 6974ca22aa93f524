"""What all processes of one supervisor share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lib.supervisor.child import Children
from lib.supervisor.journal import Journal
from lib.supervisor.listeners import Listeners


@dataclass
class Surroundings:
    """The same for all processes; `environment` is what each gets before its own variables.

    `orphaned` hears that a child ended which may have left strays. `held`: by port, the open sockets that
    keep it until its process starts. `predecessor` is whose children are taken over. `spawned`: by process,
    the number of its newest child.
    """

    var: Path
    sockets: Path
    environment: dict[str, str]
    children: Children
    journal: Journal
    orphaned: Callable[[], None]
    umask: int = -1
    held: dict[int, tuple[int, ...]] = field(default_factory=dict)
    predecessor: str = "a supervisor that died"
    spawned: dict[str, int] = field(default_factory=dict)
    listeners: Listeners = field(default_factory=Listeners)

    @property
    def fifos(self) -> Path:
        """Where the named pipes of the children's output are."""
        return self.var / "run/output"

    def pid_file(self, name: str) -> Path:
        """The file that holds the pid of process `name` while it runs."""
        return self.var / "run" / f"{name}.pid"

    def next_spawn(self, name: str) -> int:
        """The number of the next child of the process `name`. While another takes its place there are two of
        that name, and each of their children has files of its own."""
        self.spawned[name] = self.spawned.get(name, 0) + 1
        return self.spawned[name]

    def release(self, ports: tuple[int, ...]) -> None:
        """Free the sockets that hold `ports`, right before their process starts."""
        for port in ports:
            for handle in self.held.pop(port, ()):
                os.close(handle)
