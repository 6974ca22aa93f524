"""What the supervisor is told to run: plain, frozen, serialisable data.

Services make these, the plan orders them, the loop obeys them. Owns no behaviour.
Times are in seconds.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

Condition = Literal["started", "ready", "healthy", "completed", "completed_successfully"]
Policy = Literal["always", "on-failure", "never"]
ProbeKind = Literal["tcp", "http", "exec", "log", "notify"]
Domain = Literal["", "redis", "etcd", "nginx", "postgres"]


class Probe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to find out that a process is ready.

    `target` is for tcp `host:port` or `unix:/path`, for http `http://host:port/path` or
    `http+unix:/socket:/path`, for log a regular expression over one line, for exec what stands for `argv` in
    messages (empty: itself). A tcp probe may send bytes and expect an answer that begins with `expect`. An
    http probe wants a status from 200 to 399.
    It is asked every `interval` (shorter at first) until `deadline`, later every `period`; then so many
    `failures` in a row count. With a `domain` the probe speaks that system's protocol to `target`
    (lib/supervisor/domain) and learns what `status` tells of it.
    """

    kind: ProbeKind
    target: str = ""
    argv: tuple[str, ...] = ()
    send: str = ""
    expect: str = ""
    interval: float = 0.25
    timeout: float = 2.0
    deadline: float = 30.0
    period: float = 10.0
    failures: int = 3
    domain: Domain = ""


class Restart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When and how fast a process that ended is started again; the give-up window is sliding."""

    policy: Policy = "always"
    initial: float = 0.0
    max: float = 30.0
    reset_after: float = 10.0
    give_up_times: int = 10
    give_up_within: float = 60.0


class Stop(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a process is asked to end, and how long it may take before SIGKILL."""

    signal: str = "TERM"
    timeout: float = 10.0


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a process may use and who it is. `rlimits` by the names of setrlimit(2) without RLIMIT_, soft and
    hard alike; `memory` in bytes for the whole tree of processes, where a cgroup can be made; 0 is no limit.
    """

    rlimits: dict[str, int] = {}
    memory: int = 0
    nice: int = 0
    umask: int = -1
    user: str = ""
    group: str = ""


class ProcessSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One process to run. `number` counts from 1 within its service; the name is `service.number`.

    `env` is what is added to the supervisor's own cleaned environment. `check` are commands that must
    exit 0 before each start (as `nginx -t`), `stale` sockets that a killed child leaves and that are removed
    then. `ports` are the TCP ports that it will listen on. `listen` are
    addresses (`host:port`, `unix:/path`) on which the supervisor listens for it, and hands it the sockets
    (sd_listen_fds(3)): they stay open while it is replaced. `pty`: its output is a terminal's.
    `files` are the digests, by path, of the files that it reads at its start: with others it is another.
    """

    service: str
    number: int
    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str] = {}
    ports: tuple[int, ...] = ()
    ready: Probe | None = None
    check: tuple[tuple[str, ...], ...] = ()
    stale: tuple[str, ...] = ()
    live: Probe | None = None
    listen: tuple[str, ...] = ()
    pty: bool = False
    limits: Limits = Limits()
    files: dict[str, str] = {}

    @property
    def name(self) -> str:
        """`service.number`, as shown and logged."""
        return f"{self.service}.{self.number}"


def digest(spec: ProcessSpec) -> str:
    """What tells whether two processes would be started in the same way."""
    return hashlib.sha256(msgspec.json.encode(spec, order="sorted")).hexdigest()[:16]


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One service: its processes and what they share. `schedule` is a cron expression: when it runs.

    `files` maps the paths of the files that it is configured by to their digests; where only these change,
    the signal `reload` (empty: none) makes it take them up.
    """

    name: str
    kind: str
    processes: tuple[ProcessSpec, ...]
    depends_on: dict[str, Condition] = {}
    restart: Restart = Restart()
    stop: Stop = Stop()
    schedule: str = ""
    files: dict[str, str] = {}
    reload: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one supervisor needs; services stand in an order that respects `depends_on`.

    `var` is the instance's folder below amprun_root_directory, `sockets` the 0700 folder of its sockets,
    `directory` the instance's own folder. Logs are kept as `log_keep` segments of `log_segment` bytes a
    service, lines older than `log_age` seconds (0: any) not at all; `log_compress`: closed ones compressed.
    `on_crash`: what becomes of the children if the supervisor is killed. `command` is the argv
    that starts ampzero, `target` the words that name this instance to it. `metrics` is an address for HTTP.
    `notes` are facts that `status` passes on (address, hub, nat). `renewal` are the words after `command`,
    and before `target`, that renew what must be from time to time (renewer.py); empty where nothing must.
    """

    name: str
    directory: str
    var: str
    sockets: str
    services: tuple[ServiceSpec, ...]
    notes: dict[str, str] = {}
    on_crash: Literal["adopt", "stop"] = "adopt"
    command: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    metrics: str = ""
    debug: bool = False
    log_segment: int = 16 * 1024 * 1024
    log_keep: int = 8
    log_age: float = 0.0
    log_compress: bool = False
    renewal: tuple[str, ...] = ()
