"""The agent's side of a channel: requests from the standard input, answers to the standard output.

One request at a time, in order. The coordinator may vanish at any moment: an operation that has begun goes
on to its end, what it says then goes nowhere, and the agent ends.
"""

from __future__ import annotations

import errno
import os
import select
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from deploy.agent import frames
from deploy.agent.errors import AgentError
from deploy.agent.frames import Frame
from deploy.agent.layout import Layout

Events = Callable[[dict[str, Any]], None]
"""Tells the coordinator something before the answer."""
Operation = Callable[[Layout, dict[str, Any], bytes, Events], dict[str, Any]]
IDLE = 3600.0
"""Seconds without a request after which an agent ends: its coordinator is gone, whatever the link says."""


class Server:
    """Answers what arrives on the descriptor `source` on the descriptor `sink`."""

    def __init__(self, layout: Layout, operations: Mapping[str, Operation], source: int, sink: int) -> None:
        self._layout = layout
        self._operations = operations
        self._source = source
        self._sink = sink
        self._lock = threading.Lock()
        self._heard = True

    def serve(self, idle: float = IDLE) -> None:
        """Answer until the other side ends, falls silent for `idle` seconds, or sends what is no request."""
        while self._heard and select.select([self._source], [], [], idle)[0]:
            try:
                request = frames.read(lambda size: os.read(self._source, size))
            except AgentError as error:
                self._send({"id": None, "error": _described(error)})
                return
            if request is None:
                return
            self._answer(request)

    def _answer(self, request: Frame) -> None:
        number = request.header.get("id")

        def tell(event: dict[str, Any]) -> None:
            self._send({"id": number, "event": event})

        try:
            operation = self._operations.get(str(request.header.get("op")))
            if operation is None:
                raise AgentError(f"this agent knows no operation {request.header.get('op')!r}")
            answer = {**operation(self._layout, request.header, request.body, tell), "id": number, "ok": True}
            self._send(answer)
        except Exception as error:  # whatever happens here is the answer to this request, not the agent's end
            if not isinstance(error, AgentError | OSError):
                traceback.print_exc()
            self._send({"id": number, "error": _described(error)})

    def _send(self, header: dict[str, Any]) -> None:
        data = memoryview(frames.encode(header))
        with self._lock:
            while self._heard and data:
                try:
                    data = data[os.write(self._sink, data) :]
                except OSError:
                    self._heard = False


def _described(error: Exception) -> dict[str, Any]:
    """An error as it travels: what went wrong, what to do, the exit code."""
    if isinstance(error, AgentError):
        return {"message": error.message[:4000], "hint": error.hint[:4000], "exit_code": error.exit_code}
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "no space left on the device" if full else error.strerror or str(error)
        where = f"{error.filename}: " if error.filename else ""
        return {"message": f"{where}{what}", "hint": "free some space on it" if full else "", "exit_code": 8}
    return {
        "message": f"the agent failed: {type(error).__name__}: {error}"[:4000],
        "hint": "",
        "exit_code": 1,
    }


def take_over() -> tuple[int, int]:
    """The channel's two descriptors, moved away from where a stray print or a child could reach them.

    From now on the standard input is empty and the standard output goes to the standard error.
    """
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    with suppress(OSError):
        sys.stdout.flush()
    os.dup2(2, 1)
    return source, sink
