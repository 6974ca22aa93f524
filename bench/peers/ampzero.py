"""Ampify Zero: one service of so many processes, daemonised as `ampzero run` does by default."""

from __future__ import annotations

import json

from bench.peers.peer import Job, Peer, in_venv, library_version


class Ampzero(Peer):
    """Ours."""

    name = "ampzero"

    def version(self) -> str:
        return library_version("ampzero")

    def prepare(self, job: Job) -> None:
        # The records are kept under the var folder; the link is where the other peers have their logs.
        # JSON is YAML. Segments so large and so many that nothing is deleted while it is measured.
        config = {
            "name": "bench",
            "amprun_root_directory": str(job.folder / "var"),
            "logs": {"segment": 64, "keep": 16},
            "services": {
                "child": {
                    "command": list(job.argv),
                    "processes": job.count,
                    "restart": {"give_up": {"times": 1000, "within": 60}},
                }
            },
        }
        (job.folder / "amprun.yaml").write_text(json.dumps(config))
        job.logs.symlink_to(job.folder / "var/bench/logs/child")

    def start(self, job: Job) -> list[str]:
        return [in_venv("ampzero"), "run", str(job.folder)]

    def stop(self, job: Job) -> list[str]:
        return [in_venv("ampzero"), "stop", str(job.folder)]

    def status(self, job: Job) -> list[str]:
        return [in_venv("ampzero"), "status", str(job.folder)]
