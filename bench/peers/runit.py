"""runit: a folder with one service folder a process, and one svlogd a service where output is wanted."""

from __future__ import annotations

import signal
import subprocess

from bench.peers.peer import Job, Peer, unless_found
from bench.peers.s6 import write_script


class Runit(Peer):
    """runsvdir. A single process has a logger of its own, fifty have none: nothing is written there."""

    name = "runit"

    def missing(self) -> str:
        return unless_found("runsvdir", "svlogd")

    def version(self) -> str:
        asked = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", "runit"], capture_output=True, text=True, check=False
        )
        return asked.stdout or "?"

    def prepare(self, job: Job) -> None:
        job.logs.mkdir()
        (job.logs / "config").write_text("s100000000\nn20\n")
        for number in range(job.count):
            service = job.folder / f"scan/child{number:03d}"
            write_script(service / "run", job.command)
            if job.count == 1:
                write_script(service / "log/run", f"svlogd {job.logs}")

    def start(self, job: Job) -> list[str]:
        return ["runsvdir", str(job.folder / "scan")]

    def stop(self, job: Job) -> int:
        # runsvdir's own words (runsvdir(8)): at HUP it sends TERM to every runsv and exits.
        return signal.SIGHUP
