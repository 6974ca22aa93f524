"""A server hub on a disk that fills up: clear errors, nothing lost, and all is well once there is space."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from disk_support import on_small_disk

PROGRAM = """
from datetime import UTC, datetime
from pathlib import Path
from disk_support import fill
from identity_support import Party
from keys import statement
from keys.hub import Hub
from keys.hub.backup import back_up, check_entries
from keys.hub.making import make
from keys.log import checkpoint
from keys.log.proof import verify_consistency
from lib.errors import StorageError
disk = Path(sys.argv[1])
make(disk / "hub", "hub.example", "https://hub.example", datetime.now(UTC))
hub = Hub.open(disk / "hub")
user = Party()
hub.register(user.first)
host = Party(user)
hub.register(host.first)
seen = checkpoint.parse(hub.checkpoint())[0]
filler = fill(disk)
given, errors = ["user-1"], []
while not errors:
    party = Party()
    try:
        given.append(statement.parse(hub.register(party.first))[0].id)
    except StorageError as error:
        errors.append(f"register: {error.message}")
    assert len(given) < 10_000
now = datetime.now(UTC).replace(microsecond=0)
before = hub.size
for what, work in (
    ("operate", lambda: hub.operate("user-1", user.next())),
    ("back-up", lambda: back_up(hub, disk / "backup")),
    ("reopen", lambda: Hub.open(disk / "hub").register(Party().first)),
):
    try:
        work()
        errors.append(f"{what}: done")
    except StorageError as error:
        errors.append(f"{what}: {error.message}")
# Who asks is answered all the same.
assert hub.statement(given[-1]) and hub.operations("user-1") and hub.inclusion(0, hub.size)
assert hub.size == before == len(given) + 1
filler.unlink()
assert statement.parse(hub.register(party.first))[0].id == f"user-{len(given) + 1}"
hub.operate("user-1", user.change())
hub.announce("host-1", host.announcement("host-1", 1, now))
after = checkpoint.parse(hub.checkpoint())[0]
verify_consistency(seen.size, seen.root, after.size, after.root, hub.consistency(seen.size, after.size))
back_up(hub, disk / "backup")
hub.close()
again = Hub.open(disk / "hub")
with again.database.reading() as work:
    check_entries(work)
assert [again.statement(id) for id in given]
print("\\n".join(errors))
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk(tmp_path: Path) -> None:
    register, operate, backup, reopen = on_small_disk(tmp_path, "3m", PROGRAM)
    assert "no space left" in register
    assert "no space left" in operate
    assert "no space left" in backup
    assert "no space left" in reopen or "done" in reopen
