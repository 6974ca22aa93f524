"""Less of the processor for a process that starts while its predecessor serves: the start shall not delay
what is answered. Only where the priority can be given back later, as root: others may only lower it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

STEP = 5
"""What is added to its nice value: it gets a third of what the others get (sched(7)), where they need it."""


class Lowered:
    """Within `with`, the process that `pid()` gives at its begin has a lower priority."""

    def __init__(self, pid: Callable[[], int | None]) -> None:
        self._pid = pid
        self._lowered: dict[int, int] = {}
        """Pids and their nice values before."""

    def __enter__(self) -> None:
        pid = self._pid()
        if pid is None or os.geteuid() != 0:
            return
        with suppress(OSError):
            self._lowered[pid] = os.getpriority(os.PRIO_PROCESS, pid)
            _set(pid, self._lowered[pid] + STEP)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for pid, nice in self._lowered.items():
            if pid == self._pid():
                _set(pid, nice)


def _set(pid: int, nice: int) -> None:
    """For all its threads: on Linux the value is a thread's (setpriority(2), Bugs)."""
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)
