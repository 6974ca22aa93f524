"""What the console shows, as it happens: server-sent events with the status and the chosen log lines.

Events: `status` (the supervisor's status, when something in it changed), `lost` (the supervisor does not
answer: {"reason"}), `logs` ({"lines": [...], "fresh": true for the first batch}), `over` (signed out),
`beat` (nothing new). Format: the HTML standard, "Server-sent events". Owns no state of the instance.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from lib.control.client import AsyncControlClient
from lib.errors import AmpzeroError
from lib.logs.merge import Follower, Selection
from lib.logs.record import Record
from lib.node.settings import NodeSettings

MOST_STREAMS = 64
"""Open streams of one process; more are refused."""
POLL = 2.0
"""Seconds between looks at the status when no event says that it changed."""
SETTLE = 0.05
"""Seconds in which events that come together make one new status."""
BEAT = 5.0
"""Seconds of silence after which a sign of life is sent; the page takes three of them for a loss."""
LOG_INTERVAL = 0.25
TAIL = 300
BATCH = 200
LONGEST_LINE = 4000
"""Characters of a log line that are shown; `ampzero logs` has all of it."""
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
"""Terminal control sequences (ECMA-48), which mean nothing in a page."""


@dataclass(frozen=True)
class Search(Selection):
    """A selection whose text is found in either case of its letters."""

    def matches(self, record: Record) -> bool:
        """Whether `record` is wanted."""
        return not self.text or self.text in record.text.lower()


class Streams:
    """The open streams of one node process."""

    def __init__(self, settings: NodeSettings, control: AsyncControlClient) -> None:
        self.settings = settings
        self.control = control
        self.open = 0
        self._waiting: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def full(self) -> bool:
        """Whether no further stream is taken."""
        return self.open >= MOST_STREAMS

    def stop(self) -> None:
        """End all streams; safe in a signal handler."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop_now)

    def _stop_now(self) -> None:
        for stop in self._waiting:
            stop.set()

    async def events(self, service: str, search: str, signed_in: Callable[[], bool]) -> AsyncIterator[bytes]:
        """The events of one page, encoded, until it goes away, is signed out, or the process stops.

        `service` empty means all of them; `search` is text in a line, in either case.
        """
        self._loop = asyncio.get_running_loop()
        queue: asyncio.Queue[bytes] = asyncio.Queue(maxsize=100)
        stop = asyncio.Event()
        self._waiting.add(stop)
        self.open += 1
        tasks: set[asyncio.Task[Any]] = {
            asyncio.create_task(self._status(queue)),
            asyncio.create_task(self._logs(queue, service, search)),
            asyncio.create_task(stop.wait()),
        }
        try:
            while not stop.is_set():
                if not signed_in():
                    yield encode("over", {})
                    return
                getter = asyncio.create_task(queue.get())
                tasks.add(getter)
                done, _ = await asyncio.wait(tasks, timeout=BEAT, return_when=asyncio.FIRST_COMPLETED)
                if getter in done:
                    tasks.remove(getter)
                    yield getter.result()
                    continue
                if done:
                    return  # a part failed or we are told to stop: the page comes again by itself
                getter.cancel()
                tasks.remove(getter)
                yield encode("beat", {})
        finally:
            self.open -= 1
            self._waiting.discard(stop)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _status(self, queue: asyncio.Queue[bytes]) -> None:
        """Put the status into the queue whenever something in it changed."""
        changed = asyncio.Event()
        listener = asyncio.create_task(self._listen(changed))
        last: Any = None
        try:
            while True:
                changed.clear()
                event, data = await self._look()
                if (event, comparable(data)) != last:
                    last = (event, comparable(data))
                    await queue.put(encode(event, data))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), POLL)
                    await asyncio.sleep(SETTLE)
        finally:
            listener.cancel()

    async def _look(self) -> tuple[str, dict[str, Any]]:
        try:
            return "status", await self.control.call("status", timeout=3.0)
        except AmpzeroError as error:
            return "lost", {"reason": error.message}

    async def _listen(self, changed: asyncio.Event) -> None:
        """Wake at every event of the supervisor; without it, the status is looked at every POLL seconds."""
        while True:
            with contextlib.suppress(AmpzeroError):
                async for _ in self.control.events(self.settings.events):
                    changed.set()
            await asyncio.sleep(POLL)

    async def _logs(self, queue: asyncio.Queue[bytes], service: str, search: str) -> None:
        """Put the last lines and then the new ones into the queue, in batches."""
        selection = Search(text=search.lower().encode())
        with Follower(self.settings.logs, [service] if service else [], selection) as follower:
            # A search may have to read all there is, so not on the loop.
            records = await asyncio.to_thread(follower.tail, TAIL)
            fresh = True
            while True:
                for start in range(0, max(len(records), 1 if fresh else 0), BATCH):
                    lines = [shown(record) for record in records[start : start + BATCH]]
                    await queue.put(encode("logs", {"lines": lines, "fresh": fresh}))
                    fresh = False
                await asyncio.sleep(LOG_INTERVAL)
                records = await asyncio.to_thread(follower.poll)


def comparable(data: Any) -> Any:
    """The status without what changes by itself all the time."""
    if isinstance(data, dict):
        return {key: comparable(value) for key, value in data.items() if key != "uptime"}
    if isinstance(data, list):
        return [comparable(value) for value in data]
    return data


def shown(record: Record) -> dict[str, Any]:
    """One log line for the page: bytes that are no UTF-8 and control characters made visible or dropped."""
    text = ESCAPES.sub("", record.text.decode("utf-8", "replace")).expandtabs(4)
    text = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text.rstrip("\r")
    )
    return {
        "time": record.time, "service": record.service, "number": record.number, "stream": record.stream,
        "text": text[:LONGEST_LINE] + ("…" if len(text) > LONGEST_LINE else ""),
    }  # fmt: skip


def encode(event: str, data: dict[str, Any]) -> bytes:
    """One server-sent event; JSON holds no raw newline, so one data line is enough."""
    return f"event: {event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
