"""The checks of an instance's configuration that types cannot make; each says where and what to do."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from lib.checks import addresses
from lib.checks.addresses import Address, Claims
from lib.checks.probes import check_live, check_ready
from lib.checks.tls import check_tls
from lib.checks.values import (
    Fail,
    Where,
    check_duration,
    check_group,
    check_signal,
    check_size,
    check_user,
)
from lib.config import NAME_PATTERN, Config, LimitsConfig, Restart, ServiceConfig
from lib.kinds import KINDS, kind_of
from lib.root import is_writable_text
from lib.supervisor.order import CycleError, ordered
from lib.yamlfile import did_you_mean

RESERVED_NAMES = ("supervisor",)
"""A service of this name would write into the supervisor's own log."""
LEAST_MEMORY = "1M"
LEAST_AGE = 60.0
"""Seconds; below it a log would be a heap of tiny files."""
MOST_FILES = 2**31 - 1
"""Above it setrlimit(2)'s numbers mean something else, or nothing."""


def check(config: Config, fail: Fail) -> None:
    """The whole configuration; `fail(path, what, hint, key=…)` makes the error about a value (or key).

    Raises: ConfigError.
    """
    if config.amprun_root_directory is not None and not config.amprun_root_directory.strip():
        raise fail(("amprun_root_directory",), "is empty", "remove the key to have the default")
    if not is_writable_text(config.amprun_root_directory or ""):
        raise fail(
            ("amprun_root_directory",), "has a control character, as a new line", "choose another folder"
        )
    try:
        Path(config.amprun_root_directory or "").expanduser()
    except RuntimeError as error:
        raise fail(("amprun_root_directory",), "there is no such user, or it has no home") from error
    if config.logs.age != 0:  # 0: lines of any age are kept
        check_duration(config.logs.age, ("logs", "age"), fail, least=LEAST_AGE)
    for name, service in config.services.items():
        _check_service(name, service, config, fail)
    check_tls(config, fail)
    for index, address in enumerate(config.contact.addresses):
        _check_announced(address, ("contact", "addresses", index), fail)
    _check_listening(config, fail)
    try:
        ordered({name: list(service.depends_on) for name, service in config.services.items()})
    except CycleError as error:
        first = error.cycle[0]
        raise fail(
            ("services", first, "depends_on"),
            f"services depend on each other in a circle: {error}",
            "remove one of these dependencies",
        ) from error


def _check_announced(value: str, here: Where, fail: Fail) -> None:
    """An IP address with a port, in its one spelling: others parse what is announced strictly."""
    # Loaded by those who name addresses: a start must be quick.
    from ipaddress import ip_address

    host, _, port = value.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    with suppress(ValueError):
        ip = ip_address(bare)
        spelt = f"[{ip}]" if ip.version == 6 else str(ip)
        if (
            host == spelt
            and re.fullmatch("[1-9][0-9]{0,4}", port, re.ASCII)
            and int(port) <= addresses.HIGHEST
        ):
            return
    raise fail(here, "is not an address to announce", "as 203.0.113.7:8043 or [2001:db8::1]:8043")


def _check_service(name: str, service: ServiceConfig, config: Config, fail: Fail) -> None:
    here = ("services", name)
    if not re.fullmatch(NAME_PATTERN, name):
        raise fail(
            here, "is not a name for a service", "small letters, digits, - and _, a letter first, at most 32",
            key=True,
        )  # fmt: skip
    if name in RESERVED_NAMES:
        raise fail(here, "this name is the tool's own", "choose another name", key=True)
    _check_kind(name, service, here, fail)
    if service.command is not None and not (service.command.strip() if isinstance(service.command, str)
                                            else service.command and service.command[0]):  # fmt: skip
        raise fail((*here, "command"), "is empty")
    if service.shell and not isinstance(service.command, str | None):
        raise fail((*here, "shell"), "a command for a shell is text, not a list")
    for variable, value in service.env.items():
        if not variable or "=" in variable or "\0" in variable + str(value):
            raise fail((*here, "env", variable), "is not a name and value for the environment", key=True)
    _check_depends(service, config, here, fail)
    # Kinds know their own ports.
    has_port = service.port is not None or kind_of(name, service) != "command"
    if service.ready is not None:
        check_ready(service.ready, (*here, "ready"), fail, has_port=has_port)
    if service.live is not None:
        check_live(service.live, (*here, "live"), fail, has_port=has_port)
    _check_times(service, here, fail)
    _check_schedule(name, service, here, fail)
    _check_limits(service.limits, (*here, "limits"), fail)


def _check_kind(name: str, service: ServiceConfig, here: Where, fail: Fail) -> None:
    if service.kind is not None and service.kind not in (*KINDS, "command"):
        known = (*KINDS, "command")
        raise fail(
            (*here, "kind"), f"no kind {service.kind!r}",
            did_you_mean(service.kind, known) or f"known kinds: {', '.join(known)}",
        )  # fmt: skip
    if service.kind in KINDS and service.command is not None:
        raise fail(
            (*here, "command"), f"a service of the kind {service.kind} has a command of its own",
            "remove command, or remove kind",
        )  # fmt: skip
    if service.kind is None and name in KINDS and service.command is not None:
        raise fail(
            (*here, "command"), f"a service called {name} is of that kind and has a command of its own",
            "remove command, or give the service another name, or say kind: command",
        )  # fmt: skip
    if kind_of(name, service) == "command" and service.command is None:
        hint = did_you_mean(name, KINDS) or f"add command: …, or kind: one of {', '.join(KINDS)}"
        raise fail(here, "neither a known kind nor a command", hint, key=True)


def _check_depends(service: ServiceConfig, config: Config, here: Where, fail: Fail) -> None:
    for index, other in enumerate(service.depends_on):
        where = (*here, "depends_on", index if isinstance(service.depends_on, list) else other)
        if other not in config.services:
            known = list(config.services)
            hint = did_you_mean(other, known) or f"services here: {', '.join(known)}"
            raise fail(where, f"no service {other!r}", hint, key=True)
        condition = service.depends_on[other] if isinstance(service.depends_on, dict) else "ready"
        if not condition.startswith("completed"):
            continue
        needed = config.services[other]
        if needed.schedule is not None:
            raise fail(where, f"{other} runs by its schedule again and again: it never is {condition}")
        if needed.restart.policy == "always":
            raise fail(
                where, f"{other} is started again whenever it ends: it never is {condition}",
                f"give {other} restart: {{policy: on-failure}}, or never",
            )  # fmt: skip
    if len(set(service.depends_on)) != len(service.depends_on):
        raise fail((*here, "depends_on"), "names a service twice")


def _check_times(service: ServiceConfig, here: Where, fail: Fail) -> None:
    restart = (*here, "restart")
    for key in ("initial", "max", "reset_after"):
        check_duration(getattr(service.restart, key), (*restart, key), fail)
    check_duration(service.restart.give_up.within, (*restart, "give_up", "within"), fail)
    if service.stop is not None:
        check_duration(service.stop.timeout, (*here, "stop", "timeout"), fail)
        check_signal(service.stop.signal, (*here, "stop", "signal"), fail)


def _check_schedule(name: str, service: ServiceConfig, here: Where, fail: Fail) -> None:
    if service.schedule is None:
        return
    # Loaded only by those who schedule something.
    from lib.supervisor import schedule

    where = (*here, "schedule")
    try:
        schedule.next_time(service.schedule, schedule.now())
    except ValueError as error:
        raise fail(
            where, f"is not a schedule: {error}", 'as cron has it: "*/5 * * * *", "30 4 * * 1-5"'
        ) from error  # fmt: skip
    if kind_of(name, service) != "command":
        raise fail(
            where, f"a {kind_of(name, service)} runs all the time", "only a command has a schedule", key=True
        )
    if service.processes > 1:
        raise fail(
            (*here, "processes"), "what has a schedule runs one at a time", "remove processes, or schedule"
        )
    if service.restart.policy != "never" and service.restart != Restart():
        what = "means nothing with a schedule: it runs again at its next time, however it ended"
        raise fail((*here, "restart"), what, "remove restart", key=True)
    if service.live is not None:
        raise fail((*here, "live"), "means nothing with a schedule: it is to end", "remove live", key=True)


def _check_limits(limits: LimitsConfig, where: Where, fail: Fail) -> None:
    for key, least in (("memory", LEAST_MEMORY), ("core", "0"), ("file_size", "0")):
        if (value := getattr(limits, key)) is not None:
            check_size(value, (*where, key), fail, least)
    for key in ("files", "processes"):
        if (getattr(limits, key) or 0) > MOST_FILES:
            raise fail((*where, key), f"must be at most {MOST_FILES}")
    if limits.cpu_time is not None:
        check_duration(limits.cpu_time, (*where, "cpu_time"), fail, least=1.0)
    if limits.user:
        check_user(limits.user, (*where, "user"), fail)
    if limits.group:
        check_group(limits.group, (*where, "group"), fail)


MOST_LISTENING = 13
"""Addresses of one service: the supervisor keeps the descriptors 3 to 15 for their sockets."""


def _check_listening(config: Config, fail: Fail) -> None:
    """No two may listen at the same address; the processes of one service share theirs."""
    claims = Claims()
    if any(kind_of(name, service) == "nginx" for name, service in config.services.items()):
        claims.claim(Address(port=config.port), "the instance's port")
    if config.tls.acme is not None:
        _claim(claims, Address(port=config.tls.acme.port), "tls.acme", ("tls", "acme", "port"), fail)
    if isinstance(config.contact.port, int):
        _claim(claims, Address(port=config.contact.port), "contact", ("contact", "port"), fail)
    if config.metrics is not None:
        metrics = _address(config.metrics, ("metrics",), fail, unix=False)
        _claim(claims, metrics, "metrics", ("metrics",), fail)
    for name, service in config.services.items():
        here = ("services", name)
        given = service.listen
        if given is not None and kind_of(name, service) != "command":
            kind = kind_of(name, service)
            raise fail((*here, "listen"), f"a {kind} knows itself where to listen", "remove listen", key=True)
        if isinstance(given, list) and len(given) > MOST_LISTENING:
            raise fail((*here, "listen"), f"{len(given)} addresses are more than {MOST_LISTENING}")
        for index, value in enumerate(given if isinstance(given, list) else [] if given is None else [given]):
            where = (*here, "listen", index) if isinstance(given, list) else (*here, "listen")
            _claim(claims, _address(value, where, fail), f"{name} (listen, {index})", where, fail)
        if isinstance(service.port, int):
            count = service.processes if kind_of(name, service) == "command" else 1
            if service.port + count - 1 > addresses.HIGHEST:
                raise fail(
                    (*here, "port"), f"{count} processes from there on need ports above {addresses.HIGHEST}"
                )
            for port in range(service.port, service.port + count):
                _claim(claims, Address(port=port), f"{name}", (*here, "port"), fail)


def _address(value: int | str, where: Where, fail: Fail, *, unix: bool = True) -> Address:
    hint = "as 8000, 127.0.0.1:8000 or unix:/path" if unix else "as 9100 or 127.0.0.1:9100"
    try:
        found = addresses.parse(value, names=frozenset({"localhost"} if unix else ()))
    except ValueError as error:
        raise fail(where, f"is not an address to listen at: {error}", hint) from error
    if found.path and not unix:
        raise fail(where, "is not an address to listen at: it must be a port", hint)
    return found


def _claim(claims: Claims, address: Address, who: str, where: Where, fail: Fail) -> None:
    if holder := claims.claim(address, who):
        raise fail(where, f"{address} is that of {holder.partition(' (')[0]}", "choose another")
