"""Full disks of the tests: a file that takes all the room, and a program on a small disk of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
MOUNT = 'mount -t tmpfs -o "size=$1" none "$2" && shift 2 && exec "$@"'


def fill(disk: Path, room: int = 0, step: int = 4096) -> Path:
    """Leave `room` bytes on a disk, by writing `step` at a time; the file that takes the rest."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(step))
        except OSError:
            pass
        stream.truncate(max(0, stream.tell() - room))
    return filler


def on_small_disk(folder: Path, size: str, program: str, *arguments: str | Path) -> list[str]:
    """The lines that a Python program prints, whose first argument is a disk of this size, in `folder`.

    It finds the helpers of the tests. Needs root; the test is skipped where nothing can be mounted.
    """
    disk = folder / "disk"
    disk.mkdir()
    begin = f"import sys\nsys.path[:0] = {[str(TESTS.parent), str(TESTS)]!r}\n"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", MOUNT, "sh", size, disk, sys.executable, "-c", begin + program,
         disk, *arguments],
        capture_output=True, text=True, timeout=100, cwd=TESTS.parent,
    )  # fmt: skip
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mounts here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
