"""A data folder on a disk that is full: one error with a hint, and all is well once there is space."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
from keys.hub import LocalHub
from keys.identities import create_identities
from lib.errors import StorageError
disk, target = Path(sys.argv[1]), Path(sys.argv[2])
room = int(sys.argv[3])
def create():
    hub = LocalHub.open(disk / "data/hub")
    return create_identities(target, hub=hub, pending=disk / "data/pending/x")
filler = disk / "filler"
filler.write_bytes(b"")
with filler.open("wb", buffering=0) as stream:
    try:
        while True:
            stream.write(bytes(4096))
    except OSError:
        pass
    stream.truncate(max(0, stream.tell() - room))
try:
    create()
except StorageError as error:
    assert "amprun_root_directory" not in error.hint, error.hint
    print(error.message, "|", error.hint)
filler.unlink()
made = create()
print(made.user_id, made.host_id)
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
@pytest.mark.parametrize("room", [0, 8192, 16384, 24576, 40960, 49152])
def test_a_full_disk(tmp_path: Path, room: int) -> None:
    for name in ("disk", "ampnode"):
        (tmp_path / name).mkdir()
    mount = 'mount -t tmpfs -o size=256k none "$1" && shift && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, "sh", str(tmp_path / "disk"), sys.executable, "-c", PROGRAM,
         str(tmp_path / "disk"), str(tmp_path / "ampnode"), str(room)],
        capture_output=True, text=True, timeout=60, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mounts here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    *error, last = done.stdout.splitlines()
    assert last == "user-1 host-1"
    assert len(error) == 1
    assert "no space left" in error[0]
