"""The types of amprun.yaml: one class a section; the defaults stand here and nowhere else.

Owns what the keys are. Reading a file into these, with errors that name file, line, column and key, is
lib/yamlfile.py's; how a service uses them is lib/services'.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from lib.supervisor.spec import Condition, Policy

Duration = str | float
"""`10s`, `500ms`, `5m`, `1h`, `7d`, or a number of seconds."""

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1000)]
Times = Annotated[int, msgspec.Meta(ge=1)]
DEFAULT_ROOT = "/opt/ampzero/var"
"""Where amprun_root_directory is when the file does not say, and this folder can be written."""

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
"""The ACME server where the file names none."""

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,31}$"
"""A service's or an instance's name: it becomes part of file names, sockets and host names."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping of the file; a key that its class does not name is an error."""


class Ready(Section, frozen=True):
    """How a service shows that it is ready: one of tcp, http, exec, log, notify, redis, postgres."""

    tcp: int | str | None = None
    http: int | str | None = None
    exec: str | list[str] | None = None
    log: str | None = None
    notify: bool = False
    redis: int | str | None = None
    postgres: int | str | None = None
    send: str = ""
    expect: str = ""
    interval: Duration = 0.25
    timeout: Duration = 2.0
    deadline: Duration = 30.0
    period: Duration = 10.0
    failures: Times = 3


class Live(Section, frozen=True):
    """How a service shows that it still works: one of tcp, http, exec; when it fails it is restarted."""

    tcp: int | str | None = None
    http: int | str | None = None
    exec: str | list[str] | None = None
    send: str = ""
    expect: str = ""
    timeout: Duration = 2.0
    period: Duration = 10.0
    failures: Times = 3


class LimitsConfig(Section, frozen=True):
    """What each process of a service may use."""

    memory: str | int | None = None
    files: Times | None = None
    processes: Times | None = None
    core: str | int | None = None
    file_size: str | int | None = None
    cpu_time: Duration | None = None
    nice: Annotated[int, msgspec.Meta(ge=-20, le=19)] = 0
    umask: Annotated[str, msgspec.Meta(pattern="^0?[0-7]{3}$")] | None = None
    user: str = ""
    group: str = ""


class GiveUp(Section, frozen=True):
    """So many restarts within so long: the service is given up until it is started by hand."""

    times: Times = 10
    within: Duration = 60.0


class Restart(Section, frozen=True):
    """What happens when a process ends without having been told to."""

    policy: Policy = "always"
    initial: Duration = 0.0
    max: Duration = 30.0
    reset_after: Duration = 10.0
    give_up: GiveUp = GiveUp()


class Stop(Section, frozen=True):
    """How a process is asked to end."""

    signal: str = "TERM"
    timeout: Duration = 10.0


class ServiceConfig(Section, frozen=True):
    """One entry under `services:`. `None` means: as the service's kind has it."""

    kind: str | None = None
    command: str | list[str] | None = None
    shell: bool = False
    cwd: str = "."
    env: dict[str, str | int | float | bool] = {}
    env_file: str | list[str] | None = None
    processes: Count = 1
    port: Port | Literal["auto"] | None = None
    depends_on: dict[str, Condition] | list[str] = {}
    ready: Ready | None = None
    live: Live | None = None
    restart: Restart = Restart()
    stop: Stop | None = None
    schedule: str | None = None
    listen: int | str | list[int | str] | None = None
    pty: bool = False
    limits: LimitsConfig = LimitsConfig()


class Logs(Section, frozen=True):
    """How much of each service's output is kept: `keep` segments of `segment` MiB, none older than `age`."""

    segment: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 16
    keep: Annotated[int, msgspec.Meta(ge=1, le=10000)] = 8
    age: Duration = "7d"
    compress: bool = True


class Acme(Section, frozen=True):
    """Where certificates for public names come from: an ACME server (RFC 8555), which asks on port 80."""

    names: list[str] = []
    directory: str = LETS_ENCRYPT
    email: str = ""
    agree: bool = False
    port: Port = 80
    ca: str | None = None


class Tls(Section, frozen=True):
    """The certificate that browsers are shown: the user's own files, or one by ACME, else the local CA's."""

    certificate: str | None = None
    key: str | None = None
    acme: Acme | None = None


class Contact(Section, frozen=True):
    """Calls between instances, and announcing at the hub. `port: auto` is the instance's port and 3.

    `addresses`, as 203.0.113.7:8043, are announced in place of those that are found. `nat`: a port is mapped
    at the gateway; `auto` where the hub is not on this machine. lib/contact/plan.py decides each `auto`.
    """

    enabled: bool | Literal["auto"] = "auto"
    port: Port | Literal["auto"] = "auto"
    addresses: Annotated[list[str], msgspec.Meta(max_length=8)] = []
    nat: bool | Literal["auto"] = "auto"


class Config(Section, frozen=True):
    """The whole of amprun.yaml."""

    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)] | None = None
    amprun_root_directory: str | None = None
    port: Port = 8040
    logs: Logs = Logs()
    on_crash: Literal["adopt", "stop"] = "adopt"
    metrics: int | str | None = None
    tls: Tls = Tls()
    contact: Contact = Contact()
    services: dict[str, ServiceConfig] = {}
