"""The control sockets of a running supervisor: requests on a ROUTER, events on a PUB, both pyzmq ipc.

A request is one JSON object {"command", "arguments"}; its answer {"ok": true, "result"} or {"ok": false,
"error": {"message", "hint", "exit_code"}}. Requests run side by side: a slow one blocks no other. How many
do, is bounded. What the commands do is the caller's; who may connect is lib/control/sockets.py's.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import zmq

from lib.control.sockets import bind
from lib.errors import AmpzeroError, TakenError, UsageError

REQUEST_MAX = 16 * 1024 * 1024
"""Bytes of a request, which may carry a whole plan; more closes the connection."""

REQUESTS_MAX = 256
"""Requests under way at once; each waits for something, as a start that takes its time."""

URGENT = ("status", "stop", "shutdown")
URGENT_MAX = 64
"""Of these, so many more: whoever hangs must not keep others from looking and ending it."""

EVENT_QUEUE = 10_000
"""Events that wait for a slow reader before its newest are dropped."""

Handler = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Runs a command with its arguments and returns a JSON value; raises AmpzeroError."""

CONTROL_NAME = "control.sock"
EVENTS_NAME = "events.sock"


class ControlServer:
    """Serves `handler` on the sockets in `folder` from the running loop until `close`."""

    def __init__(self, folder: Path, handler: Handler) -> None:
        self._handler = handler
        self._paths: list[Path] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        """Other servers of this process may share it, and its thread."""
        self.context.set(zmq.MAX_SOCKETS, 64)
        self._requests = self._bind(zmq.ROUTER, folder / CONTROL_NAME, {zmq.MAXMSGSIZE: REQUEST_MAX})
        self._events = self._bind(zmq.PUB, folder / EVENTS_NAME, {zmq.SNDHWM: EVENT_QUEUE})
        self._handle = self._requests.fileno()
        asyncio.get_running_loop().add_reader(self._handle, self._receive)
        self._receive()

    def publish(self, topic: str, body: dict[str, Any]) -> None:
        """Send an event to whoever listens; never blocks."""
        self._events.send_multipart([topic.encode(), json.dumps(body).encode()], zmq.DONTWAIT)

    async def close(self) -> None:
        """Answer what is under way, for a second at most, and close."""
        asyncio.get_running_loop().remove_reader(self._handle)
        others = self._tasks - {task for task in [asyncio.current_task()] if task}
        if others:
            await asyncio.wait(others, timeout=1.0)
        self.context.destroy(linger=1000)
        for path in self._paths:
            path.unlink(missing_ok=True)

    def _bind(self, kind: int, path: Path, options: dict[int, int]) -> zmq.Socket[bytes]:
        self._paths.append(path)
        return bind(self.context, kind, path, options)

    def _receive(self) -> None:
        # zmq's descriptor is edge-triggered (zmq_getsockopt): read until nothing is left, or it never wakes.
        while int(self._requests.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            frames = self._requests.recv_multipart(zmq.DONTWAIT)
            task = asyncio.get_running_loop().create_task(self._answer(frames))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, frames: list[bytes]) -> None:
        *route, body = frames
        try:
            command, arguments = parse(body)
            answer: dict[str, Any] = {"ok": True, "result": await self._handle_one(command, arguments)}
        except AmpzeroError as error:
            answer = _refusal(error)
        except Exception as error:
            # A mistake of ours: who asked must hear of it, or it would wait for an answer that never comes.
            traceback.print_exc()
            answer = _refusal(AmpzeroError(f"the supervisor made a mistake: {error!r}", "please report it"))
        self._requests.send_multipart([*route, json.dumps(answer).encode()], zmq.DONTWAIT)
        self._receive()

    async def _handle_one(self, command: str, arguments: dict[str, Any]) -> Any:
        """Raises: TakenError when too many requests are under way; what the handler raises."""
        if self._under_way >= REQUESTS_MAX + (URGENT_MAX if command in URGENT else 0):
            raise TakenError(
                f"{command[:40]} is refused: {self._under_way} requests are under way already",
                "try again when some are done; ampzero status shows what they wait for",
            )
        self._under_way += 1
        try:
            return await self._handler(command, arguments)
        finally:
            self._under_way -= 1


def _refusal(error: AmpzeroError) -> dict[str, Any]:
    return {
        "ok": False,
        "error": {"message": error.message, "hint": error.hint, "exit_code": error.exit_code},
    }


def parse(body: bytes) -> tuple[str, dict[str, Any]]:
    """The command and the arguments of a request.

    Raises: UsageError for anything that is not a request.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise UsageError("the request is not JSON") from None
    if not isinstance(request, dict) or not isinstance(request.get("command"), str):
        raise UsageError("the request names no command")
    arguments = request.get("arguments", {})
    if not isinstance(arguments, dict):
        raise UsageError("the request's arguments are no object")
    return request["command"], arguments
