"""Has closed log segments compressed and old ones deleted: by a process of its own, one at a time.

The supervisor only starts it: the work (lib/logs/tidy.py) costs it neither memory nor processor time.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lib.logs import segments
from lib.logs.record import segment_name
from lib.supervisor import errand
from lib.supervisor.child import Children
from lib.supervisor.output import ServiceLog
from lib.supervisor.spec import Plan

PROGRAM = Path(segments.__file__).with_name("tidy.py")

AFTER = 5.0
"""Seconds between the closing of a segment and its compression: in a flood many are closed meanwhile, and
the oldest deleted."""

EVERY = 3600.0
"""Seconds between two looks at what has become old, and that a tidying may take."""


class Tidier:
    """Watches over the segments of one instance."""

    def __init__(self, plan: Plan, children: Children, environment: Mapping[str, str]) -> None:
        self._plan = plan
        self._logs = Path(plan.var) / "logs"
        self._children = children
        self._environment = environment
        self._rotated = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, log: ServiceLog) -> None:
        """Tidy from now on whenever there is something to tidy; `log` gets what went wrong."""
        self._task = asyncio.get_running_loop().create_task(self._run(log))

    def stop(self) -> None:
        """Tidy no more; what is under way is cut off, which does no harm."""
        if self._task is not None:
            self._task.cancel()

    def rotated(self) -> None:
        """A segment was closed."""
        self._rotated.set()

    def change(self, plan: Plan) -> None:
        """Go on as `plan` says."""
        self._plan = plan
        self.rotated()

    async def _run(self, log: ServiceLog) -> None:
        while True:
            await asyncio.sleep(AFTER)
            self._rotated.clear()
            if self._is_due():
                await self._tidy(log)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._rotated.wait(), EVERY)

    def _is_due(self) -> bool:
        """Whether there is a closed segment that is plain, or old."""
        old = time.time() - self._plan.log_age if self._plan.log_age else 0.0
        for name in segments.services(self._logs):
            folder = self._logs / name
            closed = segments.firsts(folder)[:-1]
            if any(segments.written(folder, first) < old for first in closed):
                return True
            if self._plan.log_compress and any((folder / segment_name(first)).exists() for first in closed):
                return True
        return False

    async def _tidy(self, log: ServiceLog) -> None:
        argv = (
            sys.executable, "-I", "-S", str(PROGRAM), str(self._logs), str(self._plan.log_age),
            str(int(self._plan.log_compress)),
        )  # fmt: skip
        try:
            await errand.run(self._children, argv, env=self._environment, timeout=EVERY, log=log)
        except OSError as error:
            log.say(0, f"log segments were not tidied: cannot run {argv[0]}: {error.strerror}")
