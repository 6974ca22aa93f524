"""circus's words for what we have, and the properties of its requests, checked. Owns no command."""

from __future__ import annotations

import re
import signal
from typing import Any

from lib.errors import UsageError
from lib.supervisor.spec import Plan, ServiceSpec

ACTIVE = ("ready", "running", "unready", "scheduled")
"""States of a service that circus calls active; of the others, these are:"""
OTHER_STATES = {"starting": "starting", "waiting": "starting", "backoff": "starting", "stopping": "stopping"}
STOPPED = "stopped"
TEXT_MAX = 200
"""Characters of a name or a pattern for names."""

Properties = dict[str, Any]


def watcher_state(state: str) -> str:
    """circus's word for the state of a service."""
    return "active" if state in ACTIVE else OTHER_STATES.get(state, STOPPED)


def pids(service: dict[str, Any]) -> dict[int, str]:
    """The living processes of a service: pid and name."""
    return {process["pid"]: process["name"] for process in service["processes"] if process["pid"]}


def options(plan: Plan, name: str, processes: int) -> dict[str, Any]:
    """The options of a watcher. Of the environment only the names: values may be secrets."""
    spec: ServiceSpec | None = next((each for each in plan.services if each.name == name), None)
    if spec is None or not spec.processes:
        return {"numprocesses": processes, "cmd": "", "args": ""}
    first = spec.processes[0]
    return {
        "args": list(first.argv[1:]), "cmd": first.argv[0], "copy_env": True,
        "env": dict.fromkeys(sorted(first.env), "(hidden)"), "gid": None,
        "graceful_timeout": spec.stop.timeout,
        "max_age": 0, "max_retry": spec.restart.give_up_times, "numprocesses": processes, "priority": 0,
        "respawn": spec.restart.policy != "never", "send_hup": False, "shell": False,
        "singleton": False, "stop_children": True, "stop_signal": int(signal_number(spec.stop.signal)),
        "uid": None, "warmup_delay": spec.restart.initial, "working_dir": first.cwd,
    }  # fmt: skip


def text(properties: Properties, key: str) -> str:
    """Raises: UsageError when `key` is not a short text."""
    value = properties.get(key)
    if value is None:
        raise UsageError(f"message invalid {key!r} is missing")
    if not isinstance(value, str) or len(value) > TEXT_MAX:
        raise UsageError(f"{key!r} isn't a name")
    return value


def integer(properties: Properties, key: str) -> int:
    """Raises: UsageError when `key` is not a number; a number written as text is good."""
    value = properties.get(key)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value):
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 31:
        raise UsageError(f"{key!r} isn't an integer")
    return value


def signal_number(value: object) -> int:
    """A signal's number from a number, `15`, `TERM` or `SIGTERM`.

    Raises: UsageError.
    """
    if isinstance(value, str) and not value.isdigit():
        name = value.upper() if value.upper().startswith("SIG") else f"SIG{value.upper()}"
        if name in signal.Signals.__members__:
            return signal.Signals[name].value
    else:
        number = integer({"signum": value}, "signum")
        if number in {each.value for each in signal.Signals}:
            return number
    raise UsageError("signal invalid")
