"""circus's protocol on three zmq sockets: JSON commands, events, and the statistics that circus-top shows.

A request is {"id", "command", "properties", "msg_type"?} from a DEALER or a REQ; its answer {"id", "status",
"time", ...} or {"status": "error", "reason", "errno", "tb"} (circus 0.19, circus/controller.py). Unlike
circus's, requests run side by side and none blocks another. Statistics are taken only while somebody
subscribes. What the commands do is lib/control/circus_commands.py's.
"""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from lib.control.sockets import Watch, bind
from lib.errors import AmpzeroError
from lib.supervisor.spec import Plan

if TYPE_CHECKING:
    from lib.control.circus_commands import CircusCommands
    from lib.control.circus_events import CircusEvents
    from lib.control.stats import Meter

REQUEST_MAX = 64 * 1024
"""Bytes of a request; more closes the connection."""
REQUESTS_MAX = 64
"""Requests that run at once; others wait in zmq's queue of as many a client."""
QUEUE = 1000
"""Events that wait for a slow reader before its newest are dropped."""
SOON = 2.0
"""Seconds in which a command that nobody waits for may still fail and be told so. circusctl waits for 5."""
PERIOD = 1.0
"""Seconds between two rounds of statistics, as circusd-stats has it; circus-top drops a process after 3."""

CIRCUS_NAME = "circus.sock"
EVENTS_NAME = "circus-events.sock"
STATS_NAME = "circus-stats.sock"

INVALID_JSON, UNKNOWN_COMMAND, MESSAGE_ERROR, COMMAND_ERROR = 1, 2, 3, 5
"""circus/commands/errors.py."""

Status = Callable[[], dict[str, Any]]
Handle = Callable[[str, dict[str, Any]], Awaitable[Any]]
Socket = zmq.Socket[bytes]


class CircusFace:
    """Answers circus's clients from the running loop until `close`."""

    def __init__(
        self,
        folder: Path,
        context: zmq.Context[Socket],
        plan: Callable[[], Plan],
        status: Status,
        handle: Handle,
    ) -> None:
        """Raises: zmq.ZMQError when a socket cannot be bound."""
        self._plan = plan
        self._status = status
        self._handle = handle
        self._tasks: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Future[dict[str, Any]]] = set()
        self._paths = [folder / name for name in (CIRCUS_NAME, EVENTS_NAME, STATS_NAME)]
        self._commands: CircusCommands | None = None
        self._translator: CircusEvents | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._used: Meter | None = None
        limits: dict[int, int] = {zmq.MAXMSGSIZE: REQUEST_MAX, zmq.LINGER: 500}
        queues: dict[int, int] = {zmq.RCVHWM: REQUESTS_MAX, zmq.SNDHWM: QUEUE}
        self._requests = bind(context, zmq.ROUTER, self._paths[0], {**limits, **queues})
        # XPUB tells who subscribes, so that nothing is made that nobody reads.
        self._events = bind(context, zmq.XPUB, self._paths[1], {**limits, zmq.SNDHWM: QUEUE})
        self._stats = bind(context, zmq.XPUB, self._paths[2], {**limits, zmq.SNDHWM: QUEUE})
        self._topics: dict[Socket, set[bytes]] = {self._events: set(), self._stats: set()}
        self._watches: dict[Socket, Watch] = {}
        self._watches[self._requests] = Watch(self._requests, self._receive)
        self._watches[self._events] = Watch(self._events, lambda: self._subscribed(self._events))
        self._watches[self._stats] = Watch(self._stats, lambda: self._subscribed(self._stats))
        for watch in self._watches.values():
            watch.ready()

    def publish(self, body: dict[str, Any]) -> None:
        """Send circus's events for an event of a process; never blocks."""
        if self._translator is not None:
            for topic, event in self._translator.translate(body):
                self._send(self._events, [topic.encode(), event])

    async def close(self) -> None:
        """Answer what is under way, for a second at most, and close."""
        for watch in self._watches.values():
            watch.close()
        if self._ticker is not None:
            self._ticker.cancel()
        others = {task for task in self._tasks if task is not asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=1.0)
        for socket in (self._requests, self._events, self._stats):
            socket.close()
        for path in self._paths:
            path.unlink(missing_ok=True)

    @property
    def _meter(self) -> Meter:
        from lib.control.stats import Meter

        self._used = self._used or Meter()
        return self._used

    def _receive(self) -> None:
        watch = self._watches.get(self._requests)
        while watch and len(self._tasks) < REQUESTS_MAX and watch.look():
            frames = self._requests.recv_multipart(zmq.DONTWAIT)
            task = asyncio.get_running_loop().create_task(self._answer(frames))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._requests.closed:
            self._receive()

    async def _answer(self, frames: list[bytes]) -> None:
        *route, body = frames
        if not route or not body.strip():
            return
        identity: object = None
        cast = False
        try:
            request = json.loads(body)
            if not isinstance(request, dict):
                raise ValueError("no object")
        except (ValueError, RecursionError):
            answer = _error("json invalid", INVALID_JSON)
        else:
            identity = request.get("id")
            cast = request.get("msg_type") == "cast"
            answer = await self._run(request.get("command"), request.get("properties"))
        if not cast:
            answer["id"] = identity if isinstance(identity, str | int) else None
            self._send(self._requests, [*route, json.dumps(answer).encode()])

    async def _run(self, name: object, properties: object) -> dict[str, Any]:
        from lib.control.circus_commands import CircusCommands

        if self._commands is None:
            self._commands = CircusCommands(self._plan, self._status, self._handle, self._meter)
        properties = {} if properties is None else properties
        if not isinstance(name, str):
            return _error("unknown command", UNKNOWN_COMMAND)
        if not isinstance(properties, dict):
            return _error("the properties are no object", MESSAGE_ERROR)
        try:
            result = self._commands.run(name.lower(), properties)
            if result is None:
                return _error(f"unknown command: {name[:40]!r}", UNKNOWN_COMMAND)
            if not isinstance(result, dict):
                result = await self._outcome(result, waiting=bool(properties.get("waiting")))
            return {"status": "ok", "time": time.time(), **result}
        except AmpzeroError as error:
            hint = f" ({error.hint})" if error.hint else ""
            return _error(error.message + hint, COMMAND_ERROR if error.exit_code != 2 else MESSAGE_ERROR)
        except Exception as error:
            # A mistake of ours: who asked must hear of it, or would wait for an answer that never comes.
            traceback.print_exc()
            return _error(f"the supervisor made a mistake: {error!r}", COMMAND_ERROR)

    async def _outcome(self, work: Awaitable[dict[str, Any]], *, waiting: bool) -> dict[str, Any]:
        if waiting:
            return await work
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._forget)
        done, _ = await asyncio.wait([task], timeout=SOON)
        return task.result() if done else {}

    def _forget(self, task: asyncio.Future[dict[str, Any]]) -> None:
        self._background.discard(task)
        # When it fails after everybody has gone, status shows why; asyncio need not print it as well.
        if not task.cancelled():
            task.exception()

    def _subscribed(self, socket: Socket) -> None:
        watch = self._watches.get(socket)
        while watch and watch.look():
            message = socket.recv(zmq.DONTWAIT)
            topics = self._topics[socket]
            # One byte says which, the topic follows; zmq tells each topic once (zmq_socket, ZMQ_XPUB).
            if message[:1] == b"\x01" and len(topics) < QUEUE:
                topics.add(message[1:])
            elif message[:1] == b"\x00":
                topics.discard(message[1:])
        if not self._topics[self._events]:
            self._translator = None
        elif self._translator is None:
            from lib.control.circus_events import CircusEvents

            self._translator = CircusEvents(self._status())
        if self._topics[self._stats] and self._ticker is None:
            self._ticker = asyncio.get_running_loop().create_task(self._tick())

    async def _tick(self) -> None:
        from lib.control.circus_stats import CircusStats

        while self._topics[self._stats]:
            look, status = CircusStats(self._meter), self._status()
            watchers: list[tuple[str, dict[int, str | None]]] = [
                (each["name"], {process["pid"]: None for process in each["processes"] if process["pid"]})
                for each in status["services"]
            ]
            watchers.append(("circus", {status["supervisor"]["pid"]: "circusd"}))
            for name, pids in watchers:
                for topic, body in look.topics(name, pids):
                    self._send(self._stats, [topic.encode(), body])
            await asyncio.sleep(PERIOD)
        self._ticker = None

    def _send(self, socket: Socket, frames: list[bytes]) -> None:
        # A client that does not read, or is gone, gets nothing: nobody waits for it.
        with suppress(zmq.Again, zmq.ZMQError):
            socket.send_multipart(frames, zmq.DONTWAIT)
        watch = self._watches.get(socket)
        # A send may have swallowed the edge of the descriptor.
        if watch is not None and watch.look():
            asyncio.get_running_loop().call_soon(watch.ready)


def _error(reason: str, number: int) -> dict[str, Any]:
    return {"status": "error", "reason": reason, "tb": None, "time": time.time(), "errno": number}
