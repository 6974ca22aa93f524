"""What every kind of service is: data about what it needs, writes, gives to others and runs.

Owns the types. A service returns data and never spawns, writes or asks the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lib.application import LAUNCHER
from lib.certificates import Certificates
from lib.config import ServiceConfig
from lib.contact.plan import ContactPlan
from lib.instance import Instance
from lib.programs.program import Program as Program
from lib.supervisor.spec import Probe, ProcessSpec, Stop


@dataclass(frozen=True)
class RenderedFile:
    """A file that must be there before the service starts."""

    path: Path
    content: str
    mode: int = 0o600


@dataclass(frozen=True)
class Context:
    """What a service may look at while it makes its data.

    `port(key, wanted)` gives a TCP port that is kept from run to run: `wanted` itself (an error when another
    has it), or a free one for `wanted=0`; `key` is unique in the instance, as `redis.1` or `keyspace.peer`.
    `secret(name)` gives the path of a 0600 file in the state folder that holds 64 random hex digits; it is
    made at the first call. `launcher` is the argv that starts ampzero itself, `application` the one
    of its Python applications.
    `find_program(name)` gives a program's path, `known_hint(name)` what a person types to install one that
    some kind of service needs (empty for others).
    `release` names the release of the instance's code, empty for none.
    `certificates` are the TLS files of this run; None where there is no nginx.
    `contact` is what the contact process is told; None where there is none.
    """

    instance: Instance
    port: Callable[[str, int], int]
    secret: Callable[[str], Path]
    launcher: tuple[str, ...]
    application: tuple[str, ...] = LAUNCHER
    debug: bool = False
    server: bool = False
    release: str = ""
    certificates: Certificates | None = None
    contact: ContactPlan | None = None
    find_program: Callable[[str], str] = field(default=lambda name: name)
    known_hint: Callable[[str], str] = field(default=lambda name: "")


class Service:
    """One entry under `services:`. Subclasses are the kinds; a plain command is one of them.

    The way of the calls: `environment` of all services first (what each gives to the others), then `files`
    and `processes` with the sum of what the others gave.
    """

    kind = "command"
    programs: tuple[Program, ...] = ()
    after: tuple[str, ...] = ()
    """Kinds whose services it waits for (ready) when they are in the instance; `depends_on` adds to it."""
    beside: tuple[str, ...] = ()
    """Kinds whose services need only be on their way when it starts: it reaches for them when it is asked."""
    stop = Stop()
    reload = ""
    """The signal that makes it take up changed files; empty where it must be started anew for that."""

    def __init__(self, name: str, config: ServiceConfig, context: Context) -> None:
        self.name = name
        self.config = config
        self.context = context

    @property
    def data(self) -> Path:
        """The service's folder for what it must keep."""
        return self.context.instance.data / self.name

    def folders(self) -> list[Path]:
        """Folders (0700) that must be there before it starts."""
        return []

    def environment(self) -> dict[str, str]:
        """Variables that it gives to every other service of the instance."""
        return {}

    def offers(self) -> dict[str, str]:
        """Values that files of other services may be made of; they stand in no process's environment."""
        return {}

    def files(self, given: Mapping[str, str]) -> list[RenderedFile]:
        """Files to write before it starts; `given` is what all services give and offer."""
        return []

    def processes(self, given: Mapping[str, str]) -> list[ProcessSpec]:
        """The processes to run; `given` is already in every process's environment."""
        raise NotImplementedError

    def process(self, number: int, argv: list[str], *, env: Mapping[str, str] | None = None,
                cwd: Path | None = None, ports: tuple[int, ...] = (), ready: Probe | None = None,
                check: tuple[tuple[str, ...], ...] = (), stale: tuple[str, ...] = (),
                listen: tuple[str, ...] = ()) -> ProcessSpec:  # fmt: skip
        """A ProcessSpec of this service with its usual values filled in."""
        return ProcessSpec(
            service=self.name, number=number, argv=tuple(argv), env=dict(env or {}), ports=ports, ready=ready,
            cwd=str(cwd or self.context.instance.directory), check=check, stale=stale,
            listen=listen,
        )  # fmt: skip
