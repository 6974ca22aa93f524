"""Back-up while the hub works, and restoring: what is put back is what was signed, or nothing is put back."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest
from identity_support import NOW, Party

from keys.errors import HistoryError, TrustError
from keys.hub import Hub
from keys.hub.backup import back_up, restore
from keys.hub.inuse import InUse
from keys.hub.making import make
from keys.hub.rootnotes import add_signature, draft, install, next_online_key
from keys.keyfile import load
from keys.log import checkpoint
from lib.errors import MissingError, StorageError, TakenError


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    make(tmp_path / "hub", "hub.example", "https://hub.example", NOW)
    hub = Hub.open(tmp_path / "hub")
    for _ in range(3):
        hub.register(Party().first)
    return hub


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_back_up_is_restored(hub: Hub, tmp_path: Path) -> None:
    said = back_up(hub, tmp_path / "backup")
    assert said.size == 3
    names = sorted(path.name for path in (tmp_path / "backup").iterdir())
    assert names == ["checkpoint", "hub.sqlite", "root.note"]  # and no key
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    statements = [hub.statement(f"user-{number}") for number in (1, 2, 3)]
    hub.close()
    # Another machine: only the online key was kept elsewhere.
    (tmp_path / "new").mkdir(mode=0o700)
    shutil.copy2(tmp_path / "hub/online.key", tmp_path / "new/online.key")
    assert restore(tmp_path / "backup", tmp_path / "new") == said
    again = Hub.open(tmp_path / "new")
    assert [again.statement(f"user-{number}") for number in (1, 2, 3)] == statements
    assert checkpoint.parse(again.checkpoint())[0] == said
    again.register(Party().first)
    assert again.size == 4
    with pytest.raises(TakenError):
        back_up(again, tmp_path / "backup")


def test_a_back_up_while_others_register(hub: Hub, tmp_path: Path) -> None:
    done = threading.Event()

    def register() -> None:
        while not done.is_set():
            hub.register(Party().first)

    thread = threading.Thread(target=register)
    thread.start()
    try:
        sizes = [back_up(hub, tmp_path / f"backup-{number}").size for number in range(5)]
    finally:
        done.set()
        thread.join()
    assert sizes == sorted(sizes)
    for number in range(5):
        # The copy has all that the checkpoint in the back-up is about, and perhaps more.
        restored = restore(tmp_path / f"backup-{number}", tmp_path / f"hub-{number}")
        assert restored.size >= sizes[number]


def test_no_hub_is_restored_under_a_running_one(hub: Hub, tmp_path: Path) -> None:
    back_up(hub, tmp_path / "backup")
    with pytest.raises(TakenError, match="open in another process"):
        restore(tmp_path / "backup", tmp_path / "hub")
    second = Hub.open(tmp_path / "hub")  # a command beside the server
    hub.close()
    with pytest.raises(TakenError):
        restore(tmp_path / "backup", tmp_path / "hub")
    second.close()
    restoring = InUse(tmp_path / "hub", alone=True)
    with pytest.raises(TakenError, match="being restored"):
        Hub.open(tmp_path / "hub")
    restoring.release()
    restore(tmp_path / "backup", tmp_path / "hub")


def test_a_back_up_that_is_older_than_what_was_signed_is_refused(hub: Hub, tmp_path: Path) -> None:
    back_up(hub, tmp_path / "backup")
    hub.register(Party().first)
    hub.checkpoint()
    hub.close()
    before = contents(tmp_path / "hub")
    with pytest.raises(HistoryError, match="has only 3"):
        restore(tmp_path / "backup", tmp_path / "hub")
    assert contents(tmp_path / "hub") == before
    # Without the hub's own memory, what a client or witness has seen does as well.
    seen = (tmp_path / "hub/checkpoint").read_text()
    with pytest.raises(HistoryError):
        restore(tmp_path / "backup", tmp_path / "new", [seen])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["lock"]
    # Nobody has seen more than what is in the back-up: then it is the whole history.
    assert restore(tmp_path / "backup", tmp_path / "new").size == 3
    # Swapping the file by hand is noticed when the hub starts.
    shutil.copyfile(tmp_path / "backup/hub.sqlite", tmp_path / "hub/hub.sqlite")
    with pytest.raises(HistoryError):
        Hub.open(tmp_path / "hub")


@pytest.mark.parametrize(
    "change",
    [
        "update operations set note = replace(note, 'seq: 1', 'seq: 2') where log_index = 1",
        "delete from operations where log_index = 2",
        "update log_hashes set hash = zeroblob(32) where number = 1",
        "delete from log_hashes where number = 1",
        "update identities set number = 77 where number = 2",
        "insert into operations values (3, 'x', 1, 'y')",
    ],
)
def test_a_back_up_in_which_history_was_rewritten_is_refused(hub: Hub, tmp_path: Path, change: str) -> None:
    back_up(hub, tmp_path / "backup")
    hub.close()
    before = contents(tmp_path / "hub")
    with closing(sqlite3.connect(tmp_path / "backup/hub.sqlite")) as database, database:
        database.execute(change)
    with pytest.raises((HistoryError, StorageError)):
        restore(tmp_path / "backup", tmp_path / "hub")
    assert contents(tmp_path / "hub") == before


def test_a_back_up_that_is_damaged_or_of_another_hub_is_refused(hub: Hub, tmp_path: Path) -> None:
    back_up(hub, tmp_path / "backup")
    hub.close()
    before = contents(tmp_path / "hub")
    whole = (tmp_path / "backup/hub.sqlite").read_bytes()
    for raw in (
        b"",
        whole[: len(whole) // 2],
        b"no database" * 999,
        whole[:8192] + bytes(8192) + whole[16384:],
    ):
        (tmp_path / "backup/hub.sqlite").write_bytes(raw)
        with pytest.raises((StorageError, HistoryError)):
            restore(tmp_path / "backup", tmp_path / "hub")
    make(tmp_path / "other", "hub.example", "https://hub.example", NOW)
    other = Hub.open(tmp_path / "other")
    back_up(other, tmp_path / "foreign")
    with pytest.raises(TrustError, match="another hub"):
        restore(tmp_path / "foreign", tmp_path / "hub")
    (tmp_path / "backup/hub.sqlite").write_bytes(whole)
    with pytest.raises(TrustError):
        restore(tmp_path / "backup", tmp_path / "new", [other.checkpoint()])
    with pytest.raises(MissingError):
        restore(tmp_path / "none", tmp_path / "hub")
    assert contents(tmp_path / "hub") == before


def test_a_damaged_hub_is_restored_and_its_file_is_kept(hub: Hub, tmp_path: Path) -> None:
    hub.checkpoint()
    back_up(hub, tmp_path / "backup")
    hub.close()
    (tmp_path / "hub/hub.sqlite").write_bytes(b"damaged" * 1000)
    with pytest.raises(StorageError):
        Hub.open(tmp_path / "hub")
    restore(tmp_path / "backup", tmp_path / "hub")
    assert Hub.open(tmp_path / "hub").size == 3
    kept = [path for path in (tmp_path / "hub").iterdir() if ".before-" in path.name]
    assert [path.read_bytes()[:7] for path in kept] == [b"damaged"]


def test_a_back_up_from_before_the_online_key_changed(hub: Hub, tmp_path: Path) -> None:
    back_up(hub, tmp_path / "backup")
    online = next_online_key(hub.folder)
    install(hub.folder, add_signature(draft(hub.root, NOW, online=online), load(hub.folder / "root.key")))
    hub.reload()
    hub.checkpoint()
    hub.close()
    restore(tmp_path / "backup", tmp_path / "hub")
    again = Hub.open(tmp_path / "hub")
    assert (again.root.version, again.size) == (2, 3)
    back_up(again, tmp_path / "second")
    assert {path.name for path in (tmp_path / "second").glob("*.note")} == {"root.note", "root.1.note"}
