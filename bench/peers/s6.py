"""s6: a scan folder with one service folder a process, and one s6-log a service where output is wanted."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.peers.peer import Job, Peer, unless_found


def write_script(path: Path, line: str) -> None:
    """A shell script at `path` that becomes the command `line`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nexec {line}\n")
    path.chmod(0o755)


class S6(Peer):
    """s6-svscan. A single process has a logger of its own, fifty have none: nothing is written there."""

    name = "s6"

    def missing(self) -> str:
        return unless_found("s6-svscan", "s6-log")

    def version(self) -> str:
        asked = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", "s6"], capture_output=True, text=True, check=False
        )
        return asked.stdout or "?"

    def prepare(self, job: Job) -> None:
        job.logs.mkdir()
        for number in range(job.count):
            service = job.folder / f"scan/child{number:03d}"
            write_script(service / "run", job.command)
            if job.count == 1:
                write_script(service / "log/run", f"s6-log n20 s100000000 {job.logs}")

    def start(self, job: Job) -> list[str]:
        return ["s6-svscan", str(job.folder / "scan")]

    def stop(self, job: Job) -> list[str]:
        return ["s6-svscanctl", "-t", str(job.folder / "scan")]
