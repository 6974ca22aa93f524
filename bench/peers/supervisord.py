"""supervisord: one program with numprocs, controlled over its unix socket."""

from __future__ import annotations

from bench.peers.peer import Job, Peer, in_venv, library_version

CONFIG = """
[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
minfds=8192
[unix_http_server]
file={folder}/s
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{folder}/s
[program:child]
command={command}
numprocs={count}
process_name=child_%(process_num)02d
redirect_stderr=true
stdout_logfile={logs}/%(process_num)02d.log
stdout_logfile_maxbytes=50MB
stdout_logfile_backups=10
"""


class Supervisord(Peer):
    """The supervisor of supervisord.org, at its defaults."""

    name = "supervisord"

    def version(self) -> str:
        return library_version("supervisor")

    def prepare(self, job: Job) -> None:
        job.logs.mkdir()
        command = job.command.replace("%", "%%")
        text = CONFIG.format(folder=job.folder, logs=job.logs, command=command, count=job.count)
        (job.folder / "supervisord.conf").write_text(text)

    def start(self, job: Job) -> list[str]:
        return [in_venv("supervisord"), "-c", str(job.folder / "supervisord.conf")]

    def stop(self, job: Job) -> list[str]:
        return [in_venv("supervisorctl"), "-c", str(job.folder / "supervisord.conf"), "shutdown"]

    def status(self, job: Job) -> list[str]:
        return [in_venv("supervisorctl"), "-c", str(job.folder / "supervisord.conf"), "status"]
