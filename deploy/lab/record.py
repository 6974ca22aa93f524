"""What is kept of labs: a folder each below /run, which a reboot empties.

A lab that was made by `ampzero lab up` is kept until it is taken down. Any other lab lives as long as the
process that made it, which holds its lock: when nobody holds it, the lab is dead, and whoever makes the next
one sweeps it away.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path

from lib.errors import TakenError, UsageError
from lib.files import Lock, make_folder, write_atomic

FOLDER = Path("/run/ampzero-lab")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
WAIT = 30.0
"""Seconds that one who makes or removes a lab waits for another who does."""


@dataclass(frozen=True)
class Record:
    """One lab: what was asked for, and where it is. `hosts` are names with addresses."""

    name: str
    subnet: str
    hosts: dict[str, str]
    rtt: float = 0.0
    loss: float = 0.0
    opt_size: int = 0
    kept: bool = False

    @property
    def folder(self) -> Path:
        """Where all of it lies."""
        return FOLDER / self.name

    @property
    def disks(self) -> Path:
        """Where the hosts' disks are, a folder each; a file system of its own, in memory."""
        return self.folder / "hosts"

    @property
    def lock(self) -> Lock:
        """Held by the process that the lab belongs to."""
        return Lock(self.folder / "lock")

    def write(self) -> None:
        """Keep it. Raises: StorageError."""
        write_atomic(self.folder / "lab.json", json.dumps(asdict(self), indent=2) + "\n")

    def keep(self) -> None:
        """From now on it stays when its maker ends. Raises: StorageError."""
        replace(self, kept=True).write()


def check_name(name: str) -> str:
    """`name`, when a lab may be called so.

    Raises: UsageError.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name[:40]!r} is no name for a lab", "up to 31 lower-case letters, digits and hyphens"
        )
    return name


def read(name: str) -> Record | None:
    """The record of the lab `name`; None when there is none that can be read."""
    try:
        return Record(**json.loads((FOLDER / name / "lab.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def names() -> list[str]:
    """All labs that there is anything of, dead ones too."""
    return sorted(path.name for path in FOLDER.glob("*/") if path.is_dir()) if FOLDER.is_dir() else []


def is_dead(name: str) -> bool:
    """Whether the lab belongs to nobody any more."""
    record = read(name)
    if record is not None and record.kept:
        return False
    return not Lock(FOLDER / name / "lock").is_held()


def subnets() -> list[IPv4Network]:
    """The subnets of all labs."""
    return [IPv4Network(record.subnet) for name in names() if (record := read(name)) is not None]


@contextmanager
def changing() -> Iterator[None]:
    """Only one process at a time makes a lab's folder or removes one.

    Raises: TakenError, StorageError.
    """
    make_folder(FOLDER, 0o755)
    lock = Lock(FOLDER / ".lock")
    deadline = time.monotonic() + WAIT
    while not lock.acquire():
        if time.monotonic() > deadline:
            raise TakenError(f"process {lock.holder()} has been making or removing a lab for {WAIT:.0f} s")
        time.sleep(0.02)
    try:
        yield
    finally:
        lock.release()
