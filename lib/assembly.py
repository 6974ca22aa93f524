"""From an instance to everything that its run needs: folders, files, and the supervisor's plan.

Owns how services are put together: what each gives to the others, defaults of kinds, order. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec

from lib import envfile, told
from lib.config import ServiceConfig
from lib.duration import seconds
from lib.errors import UsageError
from lib.instance import CONFIG_NAME, Instance
from lib.keyspace import cluster
from lib.kinds import kind_of
from lib.options import RELEASE_VARIABLE
from lib.services import OWN, SERVICES
from lib.services.base import Context, RenderedFile, Service
from lib.services.command import live_probe, make_probe
from lib.services.limits import make_limits
from lib.supervisor.order import ordered
from lib.supervisor.spec import Condition, Plan, ProcessSpec, Restart, ServiceSpec, Stop

SERVER_KINDS = ("redis", "ampnode", "nginx", "command")
"""What `--server` starts: the others are expected to run elsewhere, and commands are the user's own."""

CODE_KINDS = ("ampnode", "zerodata", "logstore", "command")
"""What runs the instance's code: another release of it is another process."""

MIB = 1024 * 1024

RENEWAL = ("trust", "renew", "--if-due")
"""The words of the command that renews the certificates of a running instance."""


@dataclass(frozen=True)
class Assembly:
    """What has to be there, and what is to run."""

    folders: tuple[Path, ...]
    files: tuple[RenderedFile, ...]
    plan: Plan


def choose(instance: Instance, *, only: Iterable[str] = (), server: bool = False) -> dict[str, ServiceConfig]:
    """The services to run: all, or the named ones, or those of a server.

    Raises: UsageError for a name that the instance does not have.
    """
    wanted = list(only)
    services = instance.config.services
    further = told.services(instance) if server else frozenset()
    for name in wanted:
        if name not in services:
            raise UsageError(
                f"no service {name!r} in {instance.config_file}", f"there: {', '.join(services)}"
            )
    return {
        name: service
        for name, service in services.items()
        if (name in wanted if wanted else not server or _is_of_server(instance, name, further))
    }


def _is_of_server(instance: Instance, name: str, further: frozenset[str]) -> bool:
    """Whether it runs on a server, on this one (`further`), or, as a keyspace of some hosts, is told of."""
    kind = kind_of(name, instance.config.services[name])
    return (
        name in further or kind in SERVER_KINDS or (kind == "keyspace" and cluster.read(instance) is not None)
    )


def assemble(context: Context, chosen: Mapping[str, ServiceConfig], notes: Mapping[str, str]) -> Assembly:
    """The assembly of the services `chosen`; `notes` are facts for `status`.

    Raises: MissingError (a program, a folder), TakenError (a port), ConfigError (a template, an env file).
    """
    instance = context.instance
    kinds = {**SERVICES, **OWN}
    services = [kinds[kind_of(name, config)](name, config, context) for name, config in chosen.items()]
    given: dict[str, str] = {}
    for service in services:
        given.update(service.environment())
    offered = dict(given)
    for service in services:
        offered.update(service.offers())
    files = {service.name: service.files(offered) for service in services}
    specs = {service.name: _spec(service, services, given, files[service.name]) for service in services}
    order = ordered({name: list(spec.depends_on) for name, spec in specs.items()})
    plan = Plan(
        name=instance.name, directory=str(instance.directory), var=str(instance.var),
        sockets=str(instance.sockets), services=tuple(specs[name] for name in order), notes=dict(notes),
        on_crash=instance.config.on_crash, metrics=metrics_address(instance.config.metrics),
        command=context.launcher, target=target(instance), debug=context.debug,
        log_segment=instance.config.logs.segment * MIB, log_keep=instance.config.logs.keep,
        log_age=seconds(instance.config.logs.age), log_compress=instance.config.logs.compress,
        renewal=RENEWAL if context.certificates else (),
    )  # fmt: skip
    return Assembly(
        folders=tuple(folder for service in services for folder in service.folders()),
        files=tuple(file for some in files.values() for file in some),
        plan=plan,
    )


def metrics_address(value: int | str | None) -> str:
    """`9100` or `host:9100` as an address, empty for none; a port alone means this machine only."""
    if value is None:
        return ""
    return f"127.0.0.1:{value}" if isinstance(value, int) or value.isdigit() else value


def target(instance: Instance) -> tuple[str, ...]:
    """The words that name the instance on a command line, wherever that is typed."""
    if instance.config_file.name == CONFIG_NAME:
        return (str(instance.directory),)
    return ("-f", str(instance.config_file))


def _spec(
    service: Service, services: list[Service], given: Mapping[str, str], files: list[RenderedFile]
) -> ServiceSpec:
    config = service.config
    own = {**given, **_own_environment(service)}
    digests = {str(file.path): sha256(file.content.encode()).hexdigest() for file in files}
    # What takes its files up by a signal is the same process with others.
    at_start = {} if service.reload else digests
    processes = tuple(_complete(process, service, own, at_start) for process in service.processes(own))
    restart, give_up = config.restart, config.restart.give_up
    return ServiceSpec(
        name=service.name, kind=service.kind, processes=processes, depends_on=_depends_on(service, services),
        restart=Restart(
            policy=restart.policy, initial=seconds(restart.initial), max=seconds(restart.max),
            reset_after=seconds(restart.reset_after), give_up_times=give_up.times,
            give_up_within=seconds(give_up.within),
        ),
        stop=service.stop if config.stop is None else Stop(
            signal=config.stop.signal.removeprefix("SIG"), timeout=seconds(config.stop.timeout)
        ),
        schedule=config.schedule or "", reload=service.reload, files=digests,
    )  # fmt: skip


def _complete(
    process: ProcessSpec, service: Service, own: Mapping[str, str], files: dict[str, str]
) -> ProcessSpec:
    config, ready = service.config, process.ready
    port = process.ports[0] if process.ports else 0
    release = {}
    if service.kind in CODE_KINDS and service.context.release:
        release = {RELEASE_VARIABLE: service.context.release}
    if config.ready is not None and service.kind != "command":
        ready = make_probe(config.ready, port)
    return msgspec.structs.replace(
        process, env={**own, **process.env, **release}, ready=ready, pty=config.pty,
        limits=make_limits(config.limits),
        live=None if config.live is None else live_probe(config.live, port), files=files,
    )  # fmt: skip


def _own_environment(service: Service) -> dict[str, str]:
    """`env_file` first, then `env`, which wins."""
    files = service.config.env_file or []
    found: dict[str, str] = {}
    for name in [files] if isinstance(files, str) else files:
        found.update(envfile.load(service.context.instance.directory / Path(name).expanduser()))
    for name, value in service.config.env.items():
        found[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


def _depends_on(service: Service, services: list[Service]) -> dict[str, Condition]:
    """The kind's own, then the configured ones; services that do not run now are left out."""
    present = {other.name for other in services}
    found: dict[str, Condition] = {other.name: "ready" for other in services if other.kind in service.after}
    found.update({other.name: "started" for other in services if other.kind in service.beside})
    given = service.config.depends_on
    found.update(given if isinstance(given, dict) else dict.fromkeys(given, "ready"))
    return {name: condition for name, condition in found.items() if name in present}
