"""Whether an announced port can be reached from outside: a TCP connect to who asks, and to nobody else.

Nothing is sent over it. A result is kept for a while, so that announcing often dials seldom.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress

from keys.announcement import parse_address
from keys.hubserver.source import Source

DEADLINE = 1.5
"""Seconds until a port counts as closed."""
AT_ONCE = 64
KEPT = {True: 300.0, False: 60.0}
"""Seconds for which a result holds."""
MOST = 20_000
PORTS = 2
"""Ports of one announcement that are tried."""


class DialBack:
    """Dials sources. `now` is a monotonic clock."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._results: OrderedDict[tuple[str, int], tuple[float, bool]] = OrderedDict()
        self._running: dict[tuple[str, int], asyncio.Task[bool]] = {}
        self.counts = {True: 0, False: 0}

    async def reachable(self, source: Source, addresses: Iterable[str]) -> bool | None:
        """Whether one of the announced `addresses` (as 203.0.113.7:8043) that are the source's own answers.

        None where none is its own, where the source is not known for sure, or while too many are dialled.
        """
        if not source.direct or not source.address:
            return None
        ports = list(
            dict.fromkeys(port for host, port in map(parse_address, addresses) if host == source.address)
        )
        answer: bool | None = None
        for port in ports[:PORTS]:
            result = await self._dialled(source.address, port)
            if result:
                return True
            answer = answer if result is None else result
        return answer

    async def _dialled(self, address: str, port: int) -> bool | None:
        key = (address, port)
        known = self._results.get(key)
        if known and known[0] > self._now():
            return known[1]
        task = self._running.get(key)
        if task is None:
            if len(self._running) >= AT_ONCE:
                return None
            task = asyncio.ensure_future(_connects(address, port))
            self._running[key] = task
            task.add_done_callback(lambda done: self._keep(key, done))
        return await asyncio.shield(task)  # several may wait for it: one who goes away does not end it

    def _keep(self, key: tuple[str, int], done: asyncio.Task[bool]) -> None:
        del self._running[key]
        if done.cancelled():
            return
        result = done.result()
        self.counts[result] += 1
        self._results[key] = (self._now() + KEPT[result], result)
        self._results.move_to_end(key)
        if len(self._results) > MOST:
            self._results.popitem(last=False)


async def _connects(address: str, port: int) -> bool:
    try:
        async with asyncio.timeout(DEADLINE):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(DEADLINE):
            await writer.wait_closed()
    return True
