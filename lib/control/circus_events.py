"""circus's events, made from ours: topics `watcher.<service>.<event>` and JSON bodies.

spawn, reap and kill tell of one process (`process_pid`), start and stop of a whole watcher, as
circus.readthedocs.io has it. `ready` is ours.
Owns no socket.
"""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

ENDED = re.compile(r"exit code (\d+)|killed by (?:signal )?(\w+)")
"""How lib/supervisor/child.py's Exit writes itself; a reason holds it somewhere."""


def exit_code(reason: str) -> int | None:
    """The exit code in a reason, below 0 for a signal as Python has it; None when it says none."""
    found = ENDED.search(reason)
    if found is None:
        return None
    code, number = found.groups()
    if code is not None:
        return int(code)
    if number.isdigit():
        return -int(number)
    return -signal.Signals[number].value if number in signal.Signals.__members__ else None


class CircusEvents:
    """Remembers which processes live, and says what circus would have said at each change."""

    def __init__(self, status: dict[str, Any]) -> None:
        """`status` is that of the moment from which on events are told."""
        self._pids: dict[str, dict[int, int]] = {}
        for service in status["services"]:
            living = {each["number"]: each["pid"] for each in service["processes"] if each["pid"]}
            self._pids[service["name"]] = living

    def translate(self, body: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
        """The topics and bodies of circus's events for one event of ours (`process.<service>.<number>`)."""
        service, number, pid, state = body["service"], body["number"], body["pid"], body["state"]
        living = self._pids.setdefault(service, {})
        known = living.get(number)
        if known is not None and known != pid:
            del living[number]
            yield self._event(service, "reap", process_pid=known, exit_code=exit_code(body["reason"]))
            if not living and state == "stopped":
                yield self._event(service, "stop")
        if pid and known != pid:
            first = not living
            living[number] = pid
            yield self._event(service, "spawn", process_pid=pid)
            if first:
                yield self._event(service, "start")
        if pid and state == "stopping":
            yield self._event(service, "kill", process_pid=pid)
        if pid and state == "ready":
            yield self._event(service, "ready", process_pid=pid)

    def _event(self, service: str, name: str, **more: Any) -> tuple[str, bytes]:
        return f"watcher.{service}.{name}", json.dumps({"time": time.time(), **more}).encode()
