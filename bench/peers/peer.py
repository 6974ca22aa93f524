"""What the benchmark needs of a supervisor: its configuration for a job, how it starts and stops."""

from __future__ import annotations

import shlex
import shutil
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """`count` processes of `argv`; all files go below `folder`, what they write into `logs`."""

    folder: Path
    argv: tuple[str, ...]
    count: int

    @property
    def logs(self) -> Path:
        """Where the output ends up: files in it, or below it."""
        return self.folder / "logs"

    @property
    def command(self) -> str:
        """The command line for those that want one."""
        return shlex.join(self.argv)


class Peer(ABC):
    """One supervisor. It writes nothing outside the job's folder and is started anew for every job."""

    name: str
    restarts = True
    """Whether it starts a child again that was killed."""

    @abstractmethod
    def version(self) -> str:
        """Its version, as it is shown in the results."""

    @abstractmethod
    def prepare(self, job: Job) -> None:
        """Write the configuration; not part of any time."""

    @abstractmethod
    def start(self, job: Job) -> list[str]:
        """The command that starts it; it may stay or go into the background."""

    def stop(self, job: Job) -> list[str] | int:
        """The command that stops it, or the signal for the process that `start` made."""
        return 15

    def status(self, job: Job) -> list[str] | None:
        """The command that shows all processes; None where there is none for all at once."""
        return None

    def help(self, job: Job) -> list[str]:
        """The command that shows its help, for one that has a status."""
        return [(self.status(job) or [""])[0], "--help"]

    def missing(self) -> str:
        """The program that is not installed here, or nothing."""
        return ""


def in_venv(program: str) -> str:
    """The path of a program of this Python's environment."""
    return str(Path(sys.executable).parent / program)


def library_version(name: str) -> str:
    """The version of an installed Python library, or `?`."""
    return version(name)


def unless_found(*programs: str) -> str:
    """The first of `programs` that is not installed, or nothing."""
    return next((program for program in programs if not shutil.which(program)), "")
