"""Finding out when one child is ready, and whether it stays so: by probes, by its output, by its own word."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from lib.supervisor import notify, probes, scarcity
from lib.supervisor.child import Exit
from lib.supervisor.identity import OURS, Identity
from lib.supervisor.output import Watch
from lib.supervisor.spec import Probe, ProcessSpec

SETTLE = 0.1
"""Seconds that a child without a probe must live to count as ready: long enough to see a wrong command."""

PROBE_FIRST = 0.01
"""Seconds before the second probe; the pause grows to the probe's interval: a quick start is seen soon."""

Told = Callable[[str], None]
"""Hears what a probe saw."""

RunCommand = Callable[[tuple[str, ...], float], Awaitable[Exit]]
"""Runs an argv beside the child for at most so many seconds. Raises: OSError."""


class Readiness:
    """One child's way to being ready. Make it before the child starts, `close` it when that has ended."""

    def __init__(
        self, probe: Probe | None, notify_socket: os.PathLike[str], run: RunCommand, who: Identity = OURS
    ) -> None:
        """`notify_socket` is where a socket is made for a child, which is `who`, that says itself when it is
        ready.

        Raises: OSError when that socket cannot be made.
        """
        self.seen = ""
        """What the last probe saw."""
        self.facts = ""
        """What the last probe learnt of a system that it knows."""
        self._probe = probe
        self._run = run
        self._heard = asyncio.Event()
        self._listener: notify.Listener | None = None
        if probe is not None and probe.kind == "notify":
            self._listener = notify.Listener(Path(notify_socket), self._heard.set, who)

    @property
    def environment(self) -> dict[str, str]:
        """What the child must be told."""
        return {"NOTIFY_SOCKET": str(self._listener.path)} if self._listener else {}

    @property
    def watch(self) -> Watch | None:
        """What the child's output must be shown to."""
        if self._probe is None or self._probe.kind != "log":
            return None
        pattern = re.compile(self._probe.target.encode())

        def watch(lines: bytes) -> None:
            if not self._heard.is_set() and any(pattern.search(line) for line in lines.splitlines()):
                self._heard.set()

        return watch

    async def wait(self, late: Told) -> None:
        """Return when the child is ready; `late` is told once when its deadline has passed, and why."""
        probe = self._probe
        if probe is None:
            await asyncio.sleep(SETTLE)
        elif probe.kind in ("log", "notify"):
            await self._hear(probe, late)
        else:
            await self._ask(probe, late)

    async def keep(self, spec: ProcessSpec, unready: Told, ready: Callable[[], None], dead: Told) -> None:
        """Go on probing a child that is ready, without end.

        `unready` and `ready` hear when its readiness probe fails for long and when it is well again, `dead`
        when its liveness probe fails for long.
        """
        asked = []
        if spec.ready is not None and spec.ready.kind in ("tcp", "http", "exec") and spec.ready.period > 0:
            asked.append(self._repeat(spec.ready, unready, ready))
        if spec.live is not None:
            asked.append(self._repeat(spec.live, dead, lambda: None))
        await asyncio.gather(*asked)

    async def _repeat(self, probe: Probe, failed: Told, recovered: Callable[[], None]) -> None:
        failures = 0
        while True:
            await asyncio.sleep(probe.period)
            try:
                await self._once(probe)
            except probes.NotAskedError:
                continue
            except probes.ProbeError as error:
                failures += 1
                if failures == probe.failures:
                    failed(str(error))
            else:
                if failures >= probe.failures:
                    recovered()
                failures = 0

    def close(self) -> None:
        """Stop listening; harmless when it was done."""
        if self._listener is not None:
            self._listener.close()

    async def _hear(self, probe: Probe, late: Told) -> None:
        try:
            async with asyncio.timeout(probe.deadline):
                await self._heard.wait()
        except TimeoutError:
            what = "it sent no READY=1 to $NOTIFY_SOCKET"
            if probe.kind == "log":
                what = f"no line of its output matched {probe.target!r}"
            late(f"not ready after {probe.deadline:g} s: {what}")
            await self._heard.wait()

    async def _ask(self, probe: Probe, late: Told) -> None:
        pause, until = PROBE_FIRST, time.monotonic() + probe.deadline
        told = False
        while True:
            try:
                await self._once(probe)
                return
            except probes.ProbeError as error:
                self.seen = str(error)
            if not told and time.monotonic() >= until:
                told = True
                late(f"not ready after {probe.deadline:g} s: {self.seen}")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, probe.interval)

    async def _once(self, probe: Probe) -> None:
        """Raises: ProbeError."""
        if probe.kind == "exec":
            await self._ask_command(probe)
        elif probe.domain:
            self.facts = ""
            self.facts = await probes.ask(probe)
        else:
            await probes.ask(probe)

    async def _ask_command(self, probe: Probe) -> None:
        try:
            how = await self._run(probe.argv, probe.timeout)
        except OSError as error:
            if error.errno in scarcity.FULL:
                raise probes.NotAskedError(f"cannot run {probe.argv[0]}: {scarcity.words(error)}") from None
            raise probes.ProbeError(f"cannot run {probe.argv[0]}: {error.strerror}") from None
        if not how.succeeded:
            raise probes.ProbeError(f"{probe.target or ' '.join(probe.argv)}: {how}")
