"""`python -m bench.hub`: one hub process on SQLite under load from the loopback, into bench/HUB.md.

The hub is `ampzero hub serve` as a user starts it, with its rate limits lifted: all load comes from one
address. The load generator keeps `CONNECTIONS` connections open, each of which asks as soon as it has its
answer; both share the machine's processors. Every answer is looked at.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import cast

from bench.hub_parties import Party, make_parties
from bench.results import machine
from keys import announcement
from keys.announcement import Announcement

RESULTS = Path(__file__).parent / "HUB.md"
CONNECTIONS = 16
HOSTS = 400
SECONDS = 10.0
ANNOUNCES, LOOKS = 500, 2000
"""A second: what one hub process must bear."""
LONGEST = 50.0
"""Milliseconds: the 99th percentile must not be above."""
LIFTED = "1000000/1"


@dataclass(frozen=True)
class Load:
    """What was measured: requests a second, percentiles in ms, the hub's processor time a request in ms."""

    what: str
    rate: float
    median: float
    p99: float
    worst: float
    cpu: float
    memory: float

    def row(self) -> str:
        """A line of the table."""
        wanted = ANNOUNCES if self.what.startswith("announce") else LOOKS if "look-up of" in self.what else 0
        met = self.rate >= 0.98 * wanted and self.p99 <= LONGEST
        verdict = ("yes" if met else "NO") if wanted else ""
        cells = (
            self.what, f"{self.rate:,.0f}", f"{self.median:.1f} ms",
            f"{self.p99:.1f} ms", f"{self.worst:.0f} ms", f"{self.cpu:.2f} ms",
            f"{self.memory:.0f} MB", verdict,
        )  # fmt: skip
        return f"| {' | '.join(cells)} |"


HEAD = """| what | a second | median | p99 | worst | hub's CPU each | hub's memory | met |
|---|---|---|---|---|---|---|---|"""


@contextmanager
def hub(folder: Path, port: int) -> Iterator[int]:
    """A hub on the data in `folder`, at `port`: its pid."""
    argv = [str(Path(sys.executable).parent / "ampzero"), "hub", "serve", "--data", str(folder),
            "--listen", f"127.0.0.1:{port}"]  # fmt: skip
    for rate in ("register", "operate", "announce", "look", "host", "identity"):
        argv += ["--rate", f"{rate}={LIFTED}"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("http://"), line
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


class Connection(asyncio.Protocol):
    """One connection that sends `requests` one after the other, until they or the time are over.

    With a `pace` (seconds) each has its moment, from `start` on, and what it waits for the one before counts.
    """

    def __init__(
        self, requests: Sequence[bytes], end: float, taken: list[float], pace: float = 0.0, start: float = 0.0
    ) -> None:
        self._requests, self._end, self._taken = iter(requests), end, taken
        self._pace, self._due = pace, start
        self._buffer = b""
        self._sent = 0.0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
        if len(body) < length:
            return
        self._buffer = b""
        if not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(f"{head[:40]!r} {body[:200]!r}"))
            self._transport.close()
            return
        self._taken.append(time.perf_counter() - self._sent)
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or RuntimeError("the hub closed a connection"))

    def _next(self) -> None:
        now = time.perf_counter()
        self._due = self._due + self._pace if self._pace else now
        if self._due > now:
            asyncio.get_running_loop().call_later(self._due - now, self._send)
        else:
            self._send()

    def _send(self) -> None:
        request = next(self._requests, b"") if self._due < self._end else b""
        if request:
            self._sent = self._due
            self._transport.write(request)
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()


def _itself(connection: Connection) -> Connection:
    return connection


async def drive(
    port: int, shares: list[list[bytes]], seconds: float, rate: float
) -> tuple[list[float], float]:
    """Send each share over a connection of its own, at `rate` a second in all (0: without a pause): the
    times, and how long it took."""
    taken: list[float] = []
    began = time.perf_counter()
    loop = asyncio.get_running_loop()
    connections = []
    pace = len(shares) / rate if rate else 0.0
    for number, share in enumerate(shares):
        start = began + pace * number / len(shares)
        connection = Connection(share, began + seconds, taken, pace, start)
        await loop.create_connection(partial(_itself, connection), "127.0.0.1", port)
        connections.append(connection)
    await asyncio.gather(*(connection.done for connection in connections))
    return taken, time.perf_counter() - began


def run(
    loop: asyncio.AbstractEventLoop, what: str, port: int, pid: int, shares: list[list[bytes]],
    seconds: float, rate: float = 0.0,
) -> Load:  # fmt: skip
    """One load, measured."""
    before = cpu(pid)
    taken, whole = loop.run_until_complete(drive(port, shares, seconds, rate))
    used = cpu(pid) - before
    times = sorted(1000 * each for each in taken)
    return Load(
        what, len(times) / whole, times[len(times) // 2], times[len(times) * 99 // 100], times[-1],
        1000 * used / len(times), memory(pid),
    )  # fmt: skip


def cpu(pid: int) -> float:
    """The processor time of `pid`, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """The resident memory of `pid`, in MB."""
    return next(
        int(line.split()[1]) * 1024 / 1e6
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )


def get(path: str) -> bytes:
    """The bytes of a request."""
    return f"GET {path} HTTP/1.1\r\nHost: hub\r\n\r\n".encode()


def announces(parties: list[Party], each: int) -> list[list[bytes]]:
    """For each connection the announces of its hosts, signed before; a host's seq rises."""
    now = datetime.now(UTC).replace(microsecond=0)
    shares: list[list[bytes]] = [[] for _ in range(CONNECTIONS)]
    for seq in range(1, each + 1):
        for number, party in enumerate(parties):
            note = announcement.sign(
                Announcement(
                    party.id, party.genesis, seq, ("203.0.113.7:8043", "[2001:db8::1]:8043"),
                    "A" * 43 + "=", None, now, now + timedelta(minutes=45),
                ),
                party.key,
            ).encode()  # fmt: skip
            head = f"PUT /v1/hosts/{party.id}/announce HTTP/1.1\r\nHost: hub\r\n"
            head += f"Content-Length: {len(note)}\r\n\r\n"
            shares[number % CONNECTIONS].append(head.encode() + note)
    return shares


def measure(folder: Path, seconds: float) -> list[Load]:
    """All loads against one hub."""
    loop: asyncio.AbstractEventLoop
    try:
        # By its name: where types are checked it need not be installed.
        loop = importlib.import_module("uvloop").new_event_loop()
    except ImportError:
        loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with hub(folder, port):
        parties = make_parties(port, HOSTS)
    signed = announces(parties, int(seconds * 3000 / HOSTS) + 2)
    many = int(seconds * 6000 / CONNECTIONS)
    ids = [party.id for party in parties]
    looks = [
        [get(f"/v1/hosts/{ids[at % len(ids)]}/announce") for at in range(one, one + many)]
        for one in range(CONNECTIONS)
    ]
    states = [
        [get(f"/v1/ids/{ids[at % len(ids)]}") for at in range(one, one + many)] for one in range(CONNECTIONS)
    ]
    half, paced = len(signed[0]) // 2, int(seconds * ANNOUNCES / CONNECTIONS) + 1
    mixed = [
        [
            request
            for at, each in enumerate(share[half + paced :])
            for request in (each, *looks[one][at * 4 : at * 4 + 4])
        ]
        for one, share in enumerate(signed)
    ]
    first = [share[:half] for share in signed]
    then = [share[half : half + paced] for share in signed]
    with hub(folder, port) as pid:

        def load(what: str, shares: list[list[bytes]], rate: float = 0.0) -> Load:
            return run(loop, what, port, pid, shares, seconds, rate)

        loads = [
            load("announce, as many as can be", first),
            load("look-up of an announcement, as many as can be", looks),
            load("look-up of a statement, as many as can be", states),
            load(f"announce, {ANNOUNCES} a second", then, ANNOUNCES),
            load("one announce to four look-ups, as many as can be", mixed),
            load(f"look-up of an announcement, {LOOKS} a second", looks, LOOKS),
            load(f"look-up of a statement, {LOOKS} a second", states, LOOKS),
        ]
    loop.close()
    return loads


def page(loads: list[Load], growth: str) -> str:
    """The whole page; `growth` is what bench/hub_log.py says."""
    text = f"""# The hub, measured

## Load on one hub process

Made by `make bench-hub` on {time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}; do not edit.
Machine: {machine()}, shared with the load generator. SQLite, plain HTTP on the loopback, {CONNECTIONS}
connections, {HOSTS} hosts; an announce is signed by its host, and verified and stored by the hub. "As many as
can be": each connection asks again at once. With a rate each request has its moment, and waiting for the one
before counts; the target is a p99 of at most {LONGEST:.0f} ms.

{HEAD}
{chr(10).join(load.row() for load in loads)}
"""
    return text + (f"\n## The log as it grows\n\n{growth.strip()}\n" if growth else "")


def main() -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each load")
    parser.add_argument("--stdout", action="store_true", help=f"print the page, leave {RESULTS.name} alone")
    parser.add_argument("--growth", type=Path, metavar="FILE", help="the output of bench.hub_log")
    options = parser.parse_args()
    growth = options.growth.read_text() if options.growth else ""
    with tempfile.TemporaryDirectory(prefix="ampzero-bench-") as name:
        os.environ["XDG_DATA_HOME"] = f"{name}/home"
        text = page(measure(Path(name) / "hub", options.seconds), growth)
    if options.stdout:
        print(text)
    else:
        RESULTS.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
