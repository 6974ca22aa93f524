"""supervisor's view of an instance: which names processes have there, their states and their `info` structs.

A service is a process group. The process of a service that has one is called as the service, so it shows as
`web`; those of a service with several as everywhere here, `web:web.1`. Owns no socket and no command.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from lib.control.circus_events import exit_code
from lib.logs.record import unix
from lib.supervisor.spec import Plan

UNKNOWN_METHOD, INCORRECT_PARAMETERS, BAD_ARGUMENTS, SIGNATURE_UNSUPPORTED, SHUTDOWN_STATE = 1, 2, 3, 4, 6
BAD_NAME, BAD_SIGNAL, NO_FILE, FAILED, ABNORMAL_TERMINATION = 10, 11, 20, 30, 40
SPAWN_ERROR, ALREADY_STARTED, NOT_RUNNING, SUCCESS, CANT_REREAD = 50, 60, 70, 80, 92
"""Fault codes: supervisor/xmlrpc.py."""

STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL = 0, 10, 20, 30, 40, 100, 200
"""Process states: supervisord.org/subprocess.html#process-states."""
STATE_NAMES = {STOPPED: "STOPPED", STARTING: "STARTING", RUNNING: "RUNNING", BACKOFF: "BACKOFF",
               STOPPING: "STOPPING", EXITED: "EXITED", FATAL: "FATAL"}  # fmt: skip
STATES = {
    "ready": RUNNING, "running": RUNNING, "unready": RUNNING, "starting": STARTING, "waiting": STARTING,
    "scheduled": STARTING, "backoff": BACKOFF, "stopping": STOPPING, "stopped": STOPPED,
    "completed": EXITED, "failed": FATAL, "gave-up": FATAL,
}  # fmt: skip
"""Ours in supervisor's words. `scheduled` waits for its time: to a script that must not look stopped."""
ON = (STARTING, RUNNING, BACKOFF)
"""States that a start leaves alone, and a stop ends."""

Struct = dict[str, Any]


class Fault(Exception):
    """A call that failed, with supervisor's code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def state(process: Struct) -> int:
    """supervisor's state of a process of a status."""
    return STATES.get(process["state"], FATAL)


def short_name(service: Struct, process: Struct) -> str:
    """What the process is called in its group."""
    name: str = service["name"] if len(service["processes"]) == 1 else process["name"]
    return name


def target(service: Struct, process: Struct | None) -> str:
    """What our commands call it."""
    alone = process is None or len(service["processes"]) == 1
    name: str = service["name"] if alone or process is None else process["name"]
    return name


def find(status: Struct, name: str) -> tuple[Struct, Struct | None]:
    """The service and the process that `name` means: `web`, `web.2`, `web:web.2`; `web:*` has no process.

    `web` alone means the whole service, however many processes it has.

    Raises: Fault BAD_NAME.
    """
    group, colon, inner = name.partition(":")
    if not colon and "." in name:
        group, inner, colon = name.partition(".")[0], name, ":"
    service: Struct | None = next((each for each in status["services"] if each["name"] == group), None)
    if service is None:
        raise Fault(BAD_NAME, f"BAD_NAME: {name}")
    if not colon:
        return service, service["processes"][0] if len(service["processes"]) == 1 else None
    if inner in ("", "*"):
        return service, None
    for process in service["processes"]:
        if inner in (process["name"], short_name(service, process)):
            return service, process
    raise Fault(BAD_NAME, f"BAD_NAME: {name}")


def info(service: Struct, process: Struct) -> Struct:
    """The struct of getProcessInfo."""
    now = time.time()
    code = state(process)
    alive = process["uptime"] is not None
    since = unix(process["since"])
    reason = process["reason"]
    return {
        "name": short_name(service, process), "group": service["name"], "pid": process["pid"] or 0,
        "state": code, "statename": STATE_NAMES[code], "now": int(now),
        "start": int(now - process["uptime"]) if alive else 0,
        "stop": 0 if alive or process["state"] in ("waiting", "scheduled") else int(since),
        "spawnerr": reason if code in (BACKOFF, FATAL) else "",
        "exitstatus": 0 if alive else exit_code(reason) or 0, "description": _describe(process, code, since),
        # There are no plain files to name: the output is in segments, read by readProcessStdoutLog.
        "logfile": "", "stdout_logfile": "", "stderr_logfile": "",
    }  # fmt: skip


def _describe(process: Struct, code: int, since: float) -> str:
    """As supervisorctl shows it; clients pick it apart."""
    if code == RUNNING:
        words = f"pid {process['pid']}, uptime {timedelta(seconds=int(process['uptime'] or 0))}"
        return f"{words}, not ready: {process['reason']}" if process["state"] == "unready" else words
    if code in (STOPPED, EXITED):
        return datetime.fromtimestamp(since).strftime("%b %d %I:%M %p")
    if process["waits_for"]:
        return f"waits for {', '.join(process['waits_for'])}"
    reason: str = process["reason"]
    return reason or (f'unknown error (try "tail {process["name"]}")' if code in (BACKOFF, FATAL) else "")


def config(plan: Plan, status: Struct) -> list[Struct]:
    """The structs of getAllConfigInfo."""
    import signal

    found: list[Struct] = []
    known = {service["name"]: service for service in status["services"]}
    for priority, spec in enumerate(plan.services):
        service = known.get(spec.name)
        numbers = [each["name"] for each in service["processes"]] if service else []
        for process in spec.processes:
            alone = len(spec.processes) == 1
            found.append({
                "group": spec.name, "name": spec.name if alone else process.name, "autostart": True,
                "inuse": process.name in numbers, "group_prio": priority, "process_prio": process.number,
                "command": " ".join(process.argv), "directory": process.cwd, "exitcodes": [0], "uid": "none",
                "killasgroup": True, "redirect_stderr": False, "startsecs": 0, "serverurl": "none",
                "startretries": spec.restart.give_up_times, "stopwaitsecs": int(spec.stop.timeout),
                "stopsignal": int(signal.Signals[f"SIG{spec.stop.signal}"]),
                "stdout_logfile": "none", "stdout_logfile_backups": plan.log_keep, "stdout_syslog": False,
                "stdout_logfile_maxbytes": plan.log_segment, "stdout_capture_maxbytes": 0,
                "stdout_events_enabled": False, "stderr_logfile": "none", "stderr_syslog": False,
                "stderr_logfile_backups": plan.log_keep, "stderr_logfile_maxbytes": plan.log_segment,
                "stderr_capture_maxbytes": 0, "stderr_events_enabled": False,
            })  # fmt: skip
    return sorted(found, key=lambda each: str(each["name"]))
