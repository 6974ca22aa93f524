"""Calls into a library that blocks for as long as it likes: one at a time, with a deadline."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from lib.nat.errors import GatewayError

Result = TypeVar("Result")


class Worker:
    """Makes calls in a thread of their own, never two at once.

    A call that does not end in time is left to itself, and the next one waits for it: there is never more
    than one such thread, and as a daemon it keeps no process from ending.
    """

    def __init__(self) -> None:
        self._free = threading.Lock()

    def call(self, function: Callable[[], Result], seconds: float) -> Result:
        """What `function()` returns. Raises: GatewayError after `seconds`; what `function` raises."""
        late = GatewayError(f"no answer in {seconds:.0f} s")
        if not self._free.acquire(timeout=seconds):
            raise late
        done: queue.SimpleQueue[tuple[Result | None, BaseException | None]] = queue.SimpleQueue()

        def work() -> None:
            try:
                outcome: tuple[Result | None, BaseException | None] = (function(), None)
            except BaseException as error:  # raised again in the caller's thread
                outcome = (None, error)
            self._free.release()
            done.put(outcome)

        threading.Thread(target=work, name="nat", daemon=True).start()
        try:
            result, error = done.get(timeout=seconds)
        except queue.Empty:
            raise late from None
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # None only where function() gave that
