"""Has the certificates of a running instance renewed when that is due: by ampzero, in a process of its own.

The supervisor knows neither keys nor certificates. What it reads is when: the file that the process leaves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from lib.supervisor import errand
from lib.supervisor.child import Children
from lib.supervisor.output import ServiceLog
from lib.supervisor.spec import Plan

EVERY = 3600.0
"""Seconds between two looks at the clock (which may be set), and until a renewal that failed without a word
of when to try again is tried again."""

WATCH = 5.0
"""Seconds between two looks at files of the user that somebody may replace."""

SOON = 1.0
"""Seconds after the start in which nothing is renewed: nginx must be up to show anything."""

LONGEST = 900.0
"""Seconds that a renewal may take, the waiting for an ACME server included."""


class Renewed(msgspec.Struct, frozen=True):
    """What the file says (keys/tls/certifying.py): times are seconds since 1970."""

    source: str
    names: list[str]
    expires: float
    due: float
    problem: str = ""
    watched: list[str] = []
    states: dict[str, list[int]] = {}


class Renewer:
    """Watches over the certificates of one instance."""

    def __init__(self, plan: Plan, children: Children, environment: Callable[[], Mapping[str, str]]) -> None:
        self._plan = plan
        self._record = Path(plan.var) / "state/tls/certificates.json"
        self._children = children
        self._environment = environment
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, log: ServiceLog) -> None:
        """Renew from now on what is due; `log` gets what is said about it."""
        self._task = asyncio.get_running_loop().create_task(self._run(log))

    def stop(self) -> None:
        """Renew no more; what is under way is cut off, and what there was stays."""
        if self._task is not None:
            self._task.cancel()

    def change(self, plan: Plan) -> None:
        """Go on as `plan` says."""
        self._plan = plan
        self._changed.set()

    def describe(self) -> dict[str, Any]:
        """For `status`: whose certificate is shown, for which names, until when, and what is wrong with it.
        Empty where none is shown."""
        found = self._read() if self._plan.renewal else None
        if found is None:
            return {}
        return {
            "source": found.source, "names": found.names, "expires": found.expires, "due": found.due,
            "problem": found.problem,
        }  # fmt: skip

    async def _run(self, log: ServiceLog) -> None:
        await asyncio.sleep(SOON)
        tried: dict[str, list[int]] = {}
        earliest = 0.0
        while True:
            self._changed.clear()
            found = self._read()
            now = _states(found)
            wait = max(found.due if found else 0.0, earliest) - time.time()
            replaced = found is not None and now not in (tried, _known(found))
            if self._plan.renewal and (wait <= 0 or replaced):
                tried = now
                await self._renew(log)
                # One that did not help, and says nothing of the next one, is not tried again at once.
                again = self._read()
                earliest = time.time() + EVERY if again is None or again.due <= time.time() else 0.0
                continue
            pause = min(WATCH if now else EVERY, max(wait, SOON)) if self._plan.renewal else EVERY
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause)

    async def _renew(self, log: ServiceLog) -> None:
        plan = self._plan
        argv = (*plan.command, *plan.renewal, *plan.target)
        try:
            await errand.run(self._children, argv, env=self._environment(), timeout=LONGEST, log=log)
        except OSError as error:
            log.say(0, f"certificates were not looked at: cannot run {argv[0]}: {error.strerror}")

    def _read(self) -> Renewed | None:
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=Renewed)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None


def _states(found: Renewed | None) -> dict[str, list[int]]:
    """Of each watched file what changes when another takes its place; empty for one that is not there."""
    states: dict[str, list[int]] = {}
    for path in found.watched if found else ():
        try:
            one = Path(path).stat()
            states[path] = [one.st_mtime_ns, one.st_size, one.st_ino]
        except OSError:
            states[path] = []
    return states


def _known(found: Renewed) -> dict[str, list[int]]:
    """The same of the files that were last found good."""
    return {path: found.states.get(path, []) for path in found.watched}
