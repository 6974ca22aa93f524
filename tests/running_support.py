"""An instance that a test runs: its status, its processes and its log, asked as a user would."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import Ampzero, Result, wait_for

from lib.logs.record import parse
from lib.logs.segment import open_segment
from lib.logs.segments import firsts

PYTHON_HANDLER = """
import http.server, socket, sys
class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()
    def log_message(self, *words): pass
Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""
"""A small web server: `python FILE ADDRESS PORT`; /healthz is good, everything else is not."""


@dataclass
class Running:
    """The instance in `folder`, whose root directory is `root`."""

    ampzero: Ampzero
    folder: Path
    root: Path

    def run(self, *options: str, **more: Any) -> Result:
        """`ampzero run FOLDER OPTIONS`."""
        return self.ampzero("run", self.folder, *options, **more)

    def start(self, *options: str, **more: Any) -> Running:
        """Run it; it must become ready."""
        done = self.run(*options, **more)
        assert done.code == 0, done
        return self

    def stop(self, *services: str) -> Result:
        """`ampzero stop FOLDER SERVICES`."""
        return self.ampzero("stop", self.folder, *services)

    @property
    def var(self) -> Path:
        """The instance's folder in its root."""
        found = [path for path in self.root.iterdir() if path.is_dir()]
        assert len(found) == 1, found
        return found[0]

    def status(self) -> dict[str, Any]:
        """What `status --json` tells; it must run."""
        done = self.ampzero("status", self.folder, "--json")
        assert done.code in (0, 6), done
        found: dict[str, Any] = json.loads(done.out)
        return found

    def service(self, name: str) -> dict[str, Any]:
        """One service of the status."""
        found: dict[str, Any] = next(each for each in self.status()["services"] if each["name"] == name)
        return found

    def process(self, name: str) -> dict[str, Any]:
        """One process of the status, by its name (`web.1`) or the service's, whose first is meant."""
        service, _, number = name.partition(".")
        found: dict[str, Any] = self.service(service)["processes"][int(number or 1) - 1]
        return found

    def pid(self, name: str) -> int:
        """The pid of a process that lives."""
        pid = self.process(name)["pid"]
        assert isinstance(pid, int)
        return pid

    @property
    def supervisor(self) -> int:
        """The supervisor's pid."""
        pid: int = self.status()["supervisor"]["pid"]
        return pid

    def until(self, condition: Callable[[], object], seconds: float = 30) -> None:
        """Wait for `condition`; on failure the status is shown."""
        assert wait_for(condition, seconds, step=0.05), self.ampzero("status", self.folder)

    def until_state(self, name: str, state: str, seconds: float = 30) -> dict[str, Any]:
        """Wait until a process is in `state`; its line of the status then."""
        found: list[dict[str, Any]] = []

        def reached() -> bool:
            found[:] = [self.process(name)]
            return bool(found[0]["state"] == state)

        self.until(reached, seconds)
        return found[0]

    def records(self, service: str) -> list[tuple[int, int, str, bool, bytes]]:
        """(sequence, process number, stream, goes on, text) of every line on disk, as it stands there."""
        found = []
        folder = self.var / "logs" / service
        for first in firsts(folder):
            segment = open_segment(folder, first)
            assert segment is not None, first
            for index, line in enumerate(segment.peek(segment.size(), 0).split(b"\n")[:-1]):
                record = parse(line)
                assert record is not None, line[:200]
                found.append((first + index, record[1], record[2], record[3], record[4]))
            segment.close()
        return found

    def output(self, service: str, stream: str = "out") -> list[bytes]:
        """The whole lines that a service wrote to a stream, pieces joined."""
        lines: list[bytes] = []
        rest: dict[int, bytes] = {}
        for _, number, name, goes_on, text in self.records(service):
            if name == stream:
                rest[number] = rest.get(number, b"") + text
                if not goes_on:
                    lines.append(rest.pop(number))
        return lines

    def end(self) -> None:
        """End it, whatever became of it."""
        self.ampzero("quit", self.folder)
        if self.root.is_dir():
            for folder in self.root.iterdir():
                kill(*carrying(f"AMPZERO_VAR={folder}"))


def alive(pid: int) -> bool:
    """Whether there is such a process, a zombie not counted."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat[stat.rfind(b")") + 2 :][:1] not in (b"Z", b"X")


def carrying(variable: str) -> list[int]:
    """The pids of all living processes with `NAME=value` in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return [pid for pid in found if alive(pid) and pid != os.getpid()]


def kill(*pids: int) -> None:
    """SIGKILL to each that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_gone(pid: int, seconds: float = 30) -> bool:
    """Whether the process ends within `seconds`."""
    return wait_for(lambda: not alive(pid), seconds)


def pids_in(path: Path, count: int = 1, seconds: float = 30) -> list[int]:
    """The pids that a test's program wrote to `path`, a line each; waits until `count` are there."""
    assert wait_for(lambda: path.exists() and path.read_text().count("\n") >= count, seconds), path
    return [int(line) for line in path.read_text().splitlines()]
