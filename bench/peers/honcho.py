"""honcho: a Procfile; a child that ends ends all of them, so there is no restart to measure."""

from __future__ import annotations

import shlex

from bench.peers.peer import Job, Peer, in_venv, library_version


class Honcho(Peer):
    """honcho start, its own output into one file, as one would redirect it."""

    name = "honcho"
    restarts = False

    def version(self) -> str:
        return library_version("honcho")

    def prepare(self, job: Job) -> None:
        job.logs.mkdir()
        (job.folder / "Procfile").write_text(f"child: exec {job.command}\n")

    def start(self, job: Job) -> list[str]:
        line = shlex.join(
            [in_venv("honcho"), "-d", str(job.folder), "start", "--no-colour", "-c", f"child={job.count}"]
        )
        return ["sh", "-c", f"exec {line} > {shlex.quote(str(job.logs / 'honcho.log'))} 2>&1"]
