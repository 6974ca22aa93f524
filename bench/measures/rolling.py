"""A rolling restart of the node runtime behind nginx, under a constant load of https requests from loopback.

The load is open: requests leave at their times whatever became of those before, and each one's time counts
from when it was due; so a pause is seen in full (wrk, which waits for its answers, would not show it).
"""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import ssl
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.measures.cold import ampzero, free_port
from bench.peers.peer import in_venv

RATE = 100.0
"""Requests a second, together."""
CONNECTIONS = 10
BEFORE = 8.0
"""Seconds of load before the first restart."""
RESTARTS = 3
LONGEST = 60.0
"""Seconds that all restarts may take together."""


@dataclass
class Answer:
    """A request: when it was due and how long its answer took, in seconds; what went wrong."""

    due: float
    took: float
    problem: str = ""


@dataclass
class Rolling:
    """p99 in seconds before the restarts and during them; requests and failures in all; of the restarts."""

    before: float
    during: float
    requests: int
    failed: int
    restart: float
    """Seconds of one rolling restart, on average."""
    problem: str = ""


def measure() -> Rolling:
    """One round, on an instance of its own. Raises: subprocess.CalledProcessError."""
    folder = Path(tempfile.mkdtemp(prefix="ab"))
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": "", "GIT_CONFIG_GLOBAL": os.devnull}
    try:
        port = free_port()
        settings = ("--set", f"amprun_root_directory={folder / 'var'}", "--set", f"port={port}")
        ampzero(environment, "init", "roll", "--yes", "--dir", str(folder), *settings)
        place = folder / "roll"
        try:
            ampzero(environment, "run", str(place))
            return asyncio.run(storm(port, place, environment))
        finally:
            subprocess.run([in_venv("ampzero"), "quit", str(place)], env=environment, capture_output=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def storm(port: int, place: Path, environment: dict[str, str]) -> Rolling:
    """The load, and after BEFORE seconds the restarts in it. Raises: CalledProcessError."""
    answers: list[Answer] = []
    begun = time.monotonic()
    clients = [asyncio.create_task(client(port, number, begun, answers)) for number in range(CONNECTIONS)]
    try:
        await asyncio.sleep(BEFORE)
        first = time.monotonic()
        for _ in range(RESTARTS):
            argv = [in_venv("ampzero"), "restart", "--rolling", str(place), "ampnode"]
            process = await asyncio.create_subprocess_exec(
                *argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            said, _ = await asyncio.wait_for(process.communicate(), LONGEST)
            if process.returncode:
                raise subprocess.CalledProcessError(process.returncode, argv, said)
        last = time.monotonic()
        await asyncio.sleep(0.5)
    finally:
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    # The first second warms up: connections, and the first request of each process.
    before = [answer.took for answer in answers if begun + 1 < answer.due < first]
    during = [answer.took for answer in answers if first <= answer.due <= last]
    failed = [answer.problem for answer in answers if answer.problem]
    return Rolling(
        p99(before), p99(during), len(answers), len(failed), (last - first) / RESTARTS, "; ".join(failed[:3])
    )


async def client(port: int, number: int, begun: float, answers: list[Answer]) -> None:
    """One connection's share of the requests; it connects again when the connection was closed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    due = begun + number / RATE
    while True:
        await asyncio.sleep(due - time.monotonic())
        problem = ""
        try:
            if streams is None:
                streams = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            # Not wait_for, which before Python 3.12 may swallow the cancellation that ends this loop.
            async with asyncio.timeout(10):
                status, keep = await ask(*streams)
            if status not in (200, 204):
                problem = f"status {status}"
            if not keep:
                streams[1].close()
                streams = None
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError) as error:
            problem, streams = repr(error), None
        answers.append(Answer(due, time.monotonic() - due, problem))
        due += CONNECTIONS / RATE


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bool]:
    """GET of the page; its status, and whether the connection stays. Raises: OSError, ValueError."""
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head.split(b" ", 2)[1])
    length = head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]
    if length:
        await reader.readexactly(int(length))
    else:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    return status, b"connection: close" not in head


def p99(times: list[float]) -> float:
    """The time that 99 of 100 keep."""
    return sorted(times)[math.ceil(0.99 * len(times)) - 1] if times else math.nan
