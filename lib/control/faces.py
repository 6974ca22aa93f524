"""All foreign faces of one running supervisor: circus's, supervisor's, and Prometheus's by option.

They are opened once the first start is under way and load what they need at their first client. A face that
cannot be opened leaves the instance running: it is said in the supervisor's log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from lib.errors import AmpzeroError
from lib.supervisor.spec import Plan

if TYPE_CHECKING:
    from lib.control.circus import CircusFace
    from lib.control.metrics_http import MetricsFace
    from lib.control.supervisor import SupervisorFace

Status = Callable[[], dict[str, Any]]
Handle = Callable[[str, dict[str, Any]], Awaitable[Any]]


class Faces:
    """`status` gives what `ampzero status --json` shows; `handle` runs a command of docs/control.md."""

    def __init__(
        self, folder: Path, plan: Callable[[], Plan], status: Status, handle: Handle, *,
        context: zmq.Context[zmq.Socket[bytes]] | None = None, say: Callable[[str], None] = lambda text: None,
    ) -> None:  # fmt: skip
        """`folder` is the 0700 folder of the sockets; `plan` gives what runs now.

        `context`: share another server's, with its thread. `say` gets a line for each that cannot be opened.
        """
        self._folder = folder
        self._plan = plan
        self._status = status
        self._handle = handle
        self._own = context is None
        self._context = context
        self._say = say
        self._circus: CircusFace | None = None
        self._supervisor: SupervisorFace | None = None
        self._metrics: MetricsFace | None = None
        self._opening: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Open all faces; must run in the loop, and returns before those of HTTP accept."""
        from lib.control.circus import CircusFace
        from lib.control.supervisor import SupervisorFace

        if self._context is None:
            self._context = zmq.Context()
        try:
            self._circus = CircusFace(self._folder, self._context, self._plan, self._status, self._handle)
        except (zmq.ZMQError, OSError) as error:
            self._say(f"circus's clients cannot connect: {error}")
        try:
            self._supervisor = SupervisorFace(self._folder, self._plan, self._status, self._handle)
        except OSError as error:
            self._say(f"supervisor's clients cannot connect: {error}")
        address = self._plan().metrics
        if address:
            from lib.control.metrics_http import MetricsFace

            try:
                self._metrics = MetricsFace(address, self._status)
            except AmpzeroError as error:
                self._say(error.message)
        self._opening = asyncio.get_running_loop().create_task(self._open_http())

    def publish(self, topic: str, body: dict[str, Any]) -> None:
        """Pass on an event; never blocks."""
        if self._circus is not None and topic.startswith("process."):
            self._circus.publish(body)

    async def close(self) -> None:
        """Answer what is under way, for a second at most, and close all sockets."""
        if self._opening is not None:
            await self._opening
        faces = [face for face in (self._circus, self._supervisor, self._metrics) if face is not None]
        await asyncio.gather(*(face.close() for face in faces))
        if self._own and self._context is not None:
            self._context.destroy(linger=0)

    async def _open_http(self) -> None:
        for face in (self._supervisor, self._metrics):
            if face is not None:
                await face.open()
