"""Brings the log segments of an instance into a store: every line at least once, which the store makes once.

Owns the places it has come to, one a service, in a file that is written when the store has confirmed. Looks
rarely while nothing happens. Writes nothing to the log that it reads, but for failures, and those rarely.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lib.errors import AmpzeroError
from lib.files import write_atomic
from lib.logs import segments
from lib.logs.joiner import OLDEST
from lib.logs.merge import by_time
from lib.logs.reader import Position, ServiceReader
from lib.logs.record import Record
from lib.logstore.wire import MAX_BATCH, NAME, RequestError, Sink, micros

INTERVALS = (0.2, 2.0)
"""Seconds between looks while records arrive, and at rest."""
RETRY = (0.5, 30.0)
"""Seconds until the next try after a failure, doubled up to the second value."""
FLUSH_AFTER = 10.0
"""Seconds without news of a service after which its unfinished lines are taken as they are."""
BATCH_BYTES = 4 * 1024 * 1024
SAY_EVERY = 60.0


class Shipper:
    """Ships the logs in `logs` as those of `instance`; `state` is the file of the places.

    `say` gets a line about failures and losses, at most one in SAY_EVERY seconds.
    """

    def __init__(self, instance: str, logs: Path, state: Path, sink: Sink,
                 say: Callable[[str], None] | None = None,
                 clock: Callable[[], float] = time.monotonic) -> None:  # fmt: skip
        self.instance = instance
        self.logs = logs
        self.state = state
        self.gaps: dict[str, int] = {}
        """Lines of each service that were deleted before they could be read."""
        self.failure = ""
        """What went wrong at the last try; empty when it went well."""
        self._sink = sink
        self._say = say or complain
        self._clock = clock
        self._said = -SAY_EVERY
        self._readers: dict[str, ServiceReader] = {}
        self._news: dict[str, float] = {}
        self._places = self._load()
        self._unsent: list[Record] = []
        self._unsaved = False

    def run(self, stop: threading.Event) -> None:
        """Ship until `stop` is set, then what is there at once, and save the places."""
        wait, retry = INTERVALS[0], RETRY[0]
        while not stop.is_set():
            try:
                shipped = self.step()
            except (AmpzeroError, OSError) as error:
                self.failure = str(error)
                self._tell(f"log records wait: {error}")
                stop.wait(retry)
                retry = min(RETRY[1], retry * 2)
                continue
            self.failure, retry = "", RETRY[0]
            if shipped >= MAX_BATCH:
                continue
            wait = INTERVALS[0] if shipped else min(INTERVALS[1], wait * 1.5)
            stop.wait(wait)
        try:
            self.step()
        except (AmpzeroError, OSError) as error:
            self._tell(f"log records wait for the next start: {error}")
        self.close()

    def step(self) -> int:
        """Read what is new, a part of it when it is much, and ship it; how many records.

        Raises: AmpzeroError; the same records come again at the next call.
        """
        if not self._unsent:
            self._unsent = self._read()
        shipped = len(self._unsent)
        while self._unsent:
            batch = next(batches(self._unsent))
            self._sink.add(self.instance, batch)
            del self._unsent[: len(batch)]
        if self._unsaved:
            self._save()
        return shipped

    def close(self) -> None:
        """Let go of all files."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _read(self) -> list[Record]:
        found: list[Record] = []
        for service in filter(NAME.fullmatch, segments.services(self.logs)):
            reader = self._readers.get(service)
            if reader is None:
                reader = self._readers[service] = ServiceReader(self.logs / service)
                if service in self._places:
                    reader.seek(self._places[service])
            records = reader.poll()
            if reader.gap > self.gaps.get(service, 0):
                self.gaps[service] = reader.gap
                self._tell(f"{reader.gap} lines of {service} were deleted before they could be kept")
            now = self._clock()
            if records or service not in self._news:
                self._news[service] = now
            elif now - self._news[service] > FLUSH_AFTER:
                records = reader.flush()
            if records:
                found += records
                self._places[service] = reader.position
                self._unsaved = True
        found = [record if dated(record) else record._replace(time=OLDEST) for record in found]
        found.sort(key=by_time)
        return found

    def _tell(self, what: str) -> None:
        now = self._clock()
        if now - self._said >= SAY_EVERY:
            self._said = now
            self._say(what)

    def _save(self) -> None:
        services = {
            service: {
                "segment": place.segment, "identity": place.identity, "sequence": place.sequence,
                "done": [[number, stream, last] for (number, stream), last in place.done.items()],
            }
            for service, place in self._places.items()
        }  # fmt: skip
        write_atomic(self.state, json.dumps({"version": 2, "services": services}), 0o600)
        self._unsaved = False

    def _load(self) -> dict[str, Position]:
        """The places of the run before. Without them all is shipped again, which adds nothing twice."""
        try:
            services = json.loads(self.state.read_bytes())["services"]
            return {
                service: Position(
                    int(place["segment"]), int(place["identity"]), int(place["sequence"]),
                    {(int(number), str(stream)): int(last) for number, stream, last in place["done"]},
                )
                for service, place in services.items()
            }  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


def dated(record: Record) -> bool:
    """Whether its time is one: garbage in a segment can look like a record of no day; no store takes it."""
    try:
        micros(record.time)
    except RequestError:
        return False
    return True


def batches(records: Sequence[Record]) -> Iterator[list[Record]]:
    """`records` in parts that one request can take."""
    batch: list[Record] = []
    size = 0
    for record in records:
        if batch and (len(batch) == MAX_BATCH or size + len(record.text) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record.text)
    if batch:
        yield batch


def complain(what: str) -> None:
    """Write a line to stderr, which is the log of the process that ships."""
    sys.stderr.write(f"logstore: {what}\n")
    sys.stderr.flush()
