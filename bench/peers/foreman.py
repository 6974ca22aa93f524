"""foreman (Ruby): a Procfile; a child that ends ends all of them, so there is no restart to measure."""

from __future__ import annotations

import shlex
import subprocess

from bench.peers.peer import Job, Peer, unless_found


class Foreman(Peer):
    """foreman start, its own output into one file, as one would redirect it."""

    name = "foreman"
    restarts = False

    def missing(self) -> str:
        return unless_found("foreman")

    def version(self) -> str:
        asked = subprocess.run(["foreman", "version"], capture_output=True, text=True, check=False)
        return asked.stdout.strip() or "?"

    def prepare(self, job: Job) -> None:
        job.logs.mkdir()
        (job.folder / "Procfile").write_text(f"child: exec {job.command}\n")

    def start(self, job: Job) -> list[str]:
        procfile = str(job.folder / "Procfile")
        line = shlex.join(["foreman", "start", "-f", procfile, "--no-timestamp", "-m", f"child={job.count}"])
        return ["sh", "-c", f"exec {line} > {shlex.quote(str(job.logs / 'foreman.log'))} 2>&1"]
