"""circus: one watcher with numprocesses; how soon it restarts is its polling interval, check_delay."""

from __future__ import annotations

import shlex

from bench.peers.peer import Job, Peer, in_venv, library_version

CONFIG = """
[circus]
check_delay = {delay}
endpoint = ipc://{folder}/e
pubsub_endpoint = ipc://{folder}/p
[watcher:child]
cmd = {program}
args = {args}
numprocesses = {count}
copy_env = True
stdout_stream.class = FileStream
stdout_stream.filename = {logs}/child.log
"""


class Circus(Peer):
    """circusd with a check_delay in seconds; 1 is its default (5 in older versions)."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.name = f"circus ({delay:g})"

    def version(self) -> str:
        return library_version("circus")

    def prepare(self, job: Job) -> None:
        job.logs.mkdir()
        text = CONFIG.format(
            delay=self.delay,
            folder=job.folder,
            logs=job.logs,
            count=job.count,
            program=job.argv[0],
            args=shlex.join(job.argv[1:]),
        )
        (job.folder / "circus.ini").write_text(text)

    def start(self, job: Job) -> list[str]:
        return [in_venv("circusd"), str(job.folder / "circus.ini")]

    def stop(self, job: Job) -> list[str]:
        return [in_venv("circusctl"), "--endpoint", f"ipc://{job.folder}/e", "quit"]

    def status(self, job: Job) -> list[str]:
        return [in_venv("circusctl"), "--endpoint", f"ipc://{job.folder}/e", "list", "child"]
