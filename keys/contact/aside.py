"""Work that blocks (the hub, files), done beside the loop in threads that nobody waits for at the end.

asyncio.to_thread's are waited for: a hub that says nothing would hold up every stop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


class Aside:
    """At most `most` at once; who comes later waits."""

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)

    async def run(self, work: Callable[[], Result]) -> Result:
        """What `work()` gives, or raises."""
        async with self._free:
            return await _in_thread(work)


async def _in_thread(work: Callable[[], Result]) -> Result:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.done():
            return  # whoever waited has gone
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # one of the two is there

    def run() -> None:
        result: Result | None = None
        problem: BaseException | None = None
        try:
            result = work()
        except Exception as error:
            problem = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, problem)

    threading.Thread(target=run, daemon=True).start()
    return await future
