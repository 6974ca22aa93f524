"""A PostgreSQL server of a test's own: in a folder of its own, on a unix socket, for nobody else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import wait_for

USER = "postgres"
"""Whom the server runs as where the tests run as root: it refuses root."""


def programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs, which are seldom in PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if folders:
        return folders[-1]
    found = shutil.which("initdb")
    return Path(found).parent if found else None


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a new, empty server, up to the database's name: `{}` stands there."""
    folder = programs()
    if folder is None:
        pytest.skip("no PostgreSQL server is installed")
    as_user = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
    # A socket's path has at most 107 bytes, which the folders of pytest can exceed.
    place = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    process: subprocess.Popen[bytes] | None = None
    try:
        if as_user:
            shutil.chown(place, USER)
        data = place / "data"
        subprocess.run(
            [*as_user, str(folder / "initdb"), "-D", str(data), "-A", "trust", "-U", USER, "-N"],
            check=True, capture_output=True, cwd="/",
        )  # fmt: skip
        log = place / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*as_user, str(folder / "postgres"), "-D", str(data), "-k", str(place), "-h", ""],
                stdout=stream, stderr=stream, cwd="/",
            )  # fmt: skip

        def answers() -> bool:
            assert process is not None and process.poll() is None, log.read_text()
            probe = [str(folder / "pg_isready"), "-h", str(place), "-U", USER]
            return subprocess.run(probe, capture_output=True, check=False).returncode == 0

        assert wait_for(answers), log.read_text()
        yield f"postgresql://{USER}@/{{}}?host={place}"
    finally:
        if process and process.poll() is None:
            pid = int((place / "data/postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGINT)  # its own word for a quick, orderly end
            process.wait(60)
        shutil.rmtree(place, ignore_errors=True)


def new_database(url: str, name: str) -> str:
    """Make an empty database and return its URL."""
    from keys.hub.postgres import PostgresDatabase

    admin = PostgresDatabase(url.format("postgres"))
    with admin.reading() as work:
        work.run(f"create database {name}")
    admin.close()
    return url.format(name)
