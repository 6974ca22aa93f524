"""Asking a running supervisor: one class for commands, one for code that lives in an asyncio loop."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.errors import BY_EXIT_CODE, AmpzeroError, NotRunningError

if TYPE_CHECKING:
    import zmq.asyncio

TIMEOUT = 10.0
"""Seconds that a supervisor may take to answer a quick command."""


LOOK = 0.5
"""Seconds between two looks whether the supervisor that is to answer still runs."""


def _request(command: str, arguments: dict[str, Any]) -> bytes:
    return json.dumps({"command": command, "arguments": arguments}).encode()


def _result(answer: bytes) -> Any:
    """Raises: the AmpzeroError that the supervisor raised."""
    reply = json.loads(answer)
    if reply["ok"]:
        return reply["result"]
    error = reply["error"]
    raise BY_EXIT_CODE.get(error["exit_code"], AmpzeroError)(error["message"], error["hint"])


def _silent(path: Path, timeout: float) -> NotRunningError:
    return NotRunningError(f"no answer within {timeout:g} s from the supervisor at {path}", "is it running?")


class ControlClient:
    """Calls commands of the supervisor whose control socket is `path`.

    `alive` says whether it still runs: the socket alone would let a call wait for one that was killed.
    """

    def __init__(self, path: Path, alive: Callable[[], bool] | None = None) -> None:
        self._path = path
        self._alive = alive or path.exists

    def call(self, command: str, timeout: float = TIMEOUT, **arguments: Any) -> Any:
        """Run `command` there and return its result, a JSON value; `timeout` in seconds.

        Raises: NotRunningError when nobody answers; else what the command raised there.
        """
        import zmq

        if not self._path.exists():
            raise _silent(self._path, 0)
        until = time.monotonic() + timeout
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(f"ipc://{self._path}")
            socket.send(_request(command, arguments))
            while not socket.poll(int(min(timeout, LOOK) * 1000)):
                # It may have answered right before it ended: hence the last look.
                if not self._alive() and not socket.poll(0):
                    raise NotRunningError("the supervisor ended without an answer")
                if time.monotonic() > until:
                    raise _silent(self._path, timeout)
            return _result(socket.recv())


class AsyncControlClient:
    """As ControlClient, for a running asyncio loop; one instance serves many calls."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _context(self) -> zmq.asyncio.Context:
        # Loaded for the first call: an application that may call one day starts without.
        import zmq.asyncio

        return zmq.asyncio.Context()

    async def call(self, command: str, timeout: float = TIMEOUT, **arguments: Any) -> Any:
        """Run `command` there and return its result.

        Raises: NotRunningError when nobody answers; else what the command raised there.
        """
        import zmq

        with self._context.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(f"ipc://{self._path}")
            await socket.send(_request(command, arguments))
            if not await socket.poll(int(timeout * 1000)):
                raise _silent(self._path, timeout)
            return _result(await socket.recv())

    async def events(self, path: Path, topic: str = "") -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Events from the event socket `path` whose topic begins with `topic`, as they come, without end."""
        import zmq

        with self._context.socket(zmq.SUB) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.subscribe(topic)
            socket.connect(f"ipc://{path}")
            while True:
                name, body = await socket.recv_multipart()
                yield name.decode(), json.loads(body)

    def close(self) -> None:
        """Close all sockets."""
        if "_context" in self.__dict__:
            self._context.destroy(linger=0)
