"""Where the node runtime finds its instance: read once from the environment that the supervisor gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lib.errors import MissingError


@dataclass(frozen=True)
class NodeSettings:
    """One node process. `environment` holds what the other services give (REDIS_URL and the like).

    `control` and `events` are the supervisor's sockets; `debug` shows tracebacks in pages.
    """

    name: str
    directory: Path
    var: Path
    control: Path
    events: Path
    environment: Mapping[str, str]
    process: str = "ampnode.1"
    debug: bool = False
    successor: bool = False
    """Whether another process served in this one's place before."""

    @property
    def application(self) -> Path:
        """The folder of ampnode.yaml, services/, templates/ and the key files."""
        return self.directory / "ampnode"

    @property
    def state(self) -> Path:
        """The instance's state folder: session key, sessions, one-time links."""
        return self.var / "state"

    @property
    def logs(self) -> Path:
        """The folder of the services' log segments."""
        return self.var / "logs"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> NodeSettings:
        """The settings from AMPZERO_INSTANCE, _DIRECTORY, _VAR, _CONTROL, _EVENTS, _PROCESS, _SPAWN and
        _DEBUG.

        Raises: MissingError.
        """
        names = ("AMPZERO_INSTANCE", "AMPZERO_DIRECTORY", "AMPZERO_VAR", "AMPZERO_CONTROL", "AMPZERO_EVENTS")
        for name in names:
            if not environment.get(name):
                raise MissingError(f"{name} is not set", "the node runtime is started by: ampzero run")
        return cls(
            name=environment["AMPZERO_INSTANCE"],
            directory=Path(environment["AMPZERO_DIRECTORY"]),
            var=Path(environment["AMPZERO_VAR"]),
            control=Path(environment["AMPZERO_CONTROL"]),
            events=Path(environment["AMPZERO_EVENTS"]),
            environment=dict(environment),
            process=environment.get("AMPZERO_PROCESS", "ampnode.1"),
            debug=environment.get("AMPZERO_DEBUG") == "1",
            # NAME:NUMBER:VAR, where NUMBER counts the children that were started under the name.
            successor=environment.get("AMPZERO_SPAWN", "::").split(":", 2)[1] not in ("", "1"),
        )
