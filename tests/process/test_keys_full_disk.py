"""A data folder on a disk that is full: one error with a hint, and all is well once there is space."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from disk_support import on_small_disk

PROGRAM = """
from pathlib import Path
from disk_support import fill
from keys.hub import LocalHub
from keys.identities import create_identities
from lib.errors import StorageError
disk, target = Path(sys.argv[1]), Path(sys.argv[2])
def create():
    hub = LocalHub.open(disk / "data/hub")
    return create_identities(target, hub=hub, pending=disk / "data/pending/x")
filler = fill(disk, room=int(sys.argv[3]))
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
    (tmp_path / "ampnode").mkdir()
    *error, last = on_small_disk(tmp_path, "256k", PROGRAM, tmp_path / "ampnode", str(room))
    assert last == "user-1 host-1"
    assert len(error) == 1
    assert "no space left" in error[0]
