"""The view's link to the supervisor: status, commands, events; it may end and come back at any time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from lib import running
from lib.addressing import typed
from lib.control.client import AsyncControlClient
from lib.errors import NotRunningError
from lib.instance import Instance

LOOK = 0.3
"""Seconds between two looks whether the supervisor that is to answer still runs."""


class Link:
    """Talks with whatever supervisor runs the instance now. Belongs to one asyncio loop."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._client = AsyncControlClient(instance.sockets / "control.sock")

    def alive(self) -> bool:
        """Whether a supervisor of the instance runs."""
        return running.is_running(self._instance) and (self._instance.sockets / "control.sock").exists()

    async def status(self) -> dict[str, Any]:
        """The instance's status.

        Raises: NotRunningError.
        """
        found: dict[str, Any] = await self.call("status", {}, running.ANSWER_TIME)
        return found

    async def call(self, command: str, arguments: dict[str, Any], limit: float = running.START_TIME) -> Any:
        """Run a command there, for `limit` seconds at most; ends early when the supervisor does.

        Raises: NotRunningError; else what the command raised there.
        """
        if not self.alive():
            raise NotRunningError(
                f"{self._instance.name} is not running", f"ampzero run {typed(self._instance)}"
            )
        asked = asyncio.ensure_future(self._client.call(command, limit, **arguments))
        try:
            while not (await asyncio.wait([asked], timeout=LOOK))[0]:
                if not self.alive():
                    # It may have answered right before it ended.
                    await asyncio.wait([asked], timeout=LOOK)
                    break
            if asked.done():
                return asked.result()
            raise NotRunningError("the supervisor ended without an answer")
        finally:
            asked.cancel()

    async def changes(self) -> AsyncIterator[None]:
        """Yields whenever a process changed its state; over the lives of several supervisors."""
        async for _ in self._client.events(self._instance.sockets / "events.sock"):
            yield

    def close(self) -> None:
        """Close the sockets."""
        self._client.close()
