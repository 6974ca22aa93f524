"""pm2: one app in fork mode with `instances`; its daemon and what it keeps are in a PM2_HOME of the job."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from bench.peers.peer import Job, Peer

CACHE = Path.home() / ".cache/ampzero-bench/pm2"
"""Where `installed` puts it: nothing global, nothing in the repository."""


def program() -> str:
    """The path of pm2, or nothing."""
    own = CACHE / "node_modules/.bin/pm2"
    return str(own) if own.exists() else shutil.which("pm2") or ""


class Pm2(Peer):
    """pm2 start: comes back when it has started them; a daemon of node stays."""

    name = "pm2"

    def missing(self) -> str:
        return "" if program() else f"pm2 (npm install --prefix {CACHE} pm2)"

    def version(self) -> str:
        package = Path(program()).resolve().parent.parent / "package.json"
        return str(json.loads(package.read_text())["version"]) if package.exists() else "?"

    def prepare(self, job: Job) -> None:
        job.logs.mkdir()
        app = {
            "name": "child", "script": job.argv[0], "args": list(job.argv[1:]), "interpreter": "none",
            "exec_mode": "fork", "instances": job.count, "merge_logs": True,
            "out_file": str(job.logs / "child.log"), "error_file": str(job.logs / "child.err"),
        }  # fmt: skip
        (job.folder / "app.json").write_text(json.dumps({"apps": [app]}))

    def start(self, job: Job) -> list[str]:
        return [*self._pm2(job), "start", str(job.folder / "app.json")]

    def stop(self, job: Job) -> list[str]:
        return [*self._pm2(job), "kill"]

    def status(self, job: Job) -> list[str]:
        return [*self._pm2(job), "list"]

    def help(self, job: Job) -> list[str]:
        return [program(), "--help"]

    def _pm2(self, job: Job) -> list[str]:
        # A variable, for pm2 knows no option for it.
        return ["env", f"PM2_HOME={job.folder / 'pm2'}", program()]


def installed(npm: str = "npm") -> bool:
    """Install it into the cache if npm is here; whether it is there then."""
    if not program() and shutil.which(npm):
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--prefix", str(CACHE), "pm2@6"],
            cwd=CACHE, capture_output=True, check=False, timeout=300,
        )  # fmt: skip
    return bool(program())
