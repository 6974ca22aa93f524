"""The remembered hash of a file: never for something that has changed since."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from support import wait_for

from deploy.agent import contents
from deploy.agent.tarblock import LINK_MODE


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def settled(tmp_path: Path) -> Path:
    """A file that was looked at long enough after its last change to be remembered."""
    file = tmp_path / "file"
    file.write_bytes(b"before")
    assert wait_for(lambda: time.time_ns() - file.stat().st_ctime_ns > contents.SETTLED)
    assert contents.look(str(file)) == (0o644, sha256(b"before"))
    return file


def test_a_file_that_nobody_changed_is_not_read_again(settled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> str:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(contents, "_read", refuse)
    assert contents.look(str(settled)) == (0o644, sha256(b"before"))


def test_a_change_of_the_same_size_with_its_time_set_back_is_seen(settled: Path) -> None:
    times = settled.stat()
    settled.write_bytes(b"after!")
    os.utime(settled, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert contents.look(str(settled)) == (0o644, sha256(b"after!"))


def test_another_file_put_in_its_place_is_seen(settled: Path) -> None:
    other = settled.with_name("other")
    other.write_bytes(b"second")
    other.replace(settled)
    assert contents.look(str(settled)) == (0o644, sha256(b"second"))


def test_another_mode_and_another_kind_are_seen(settled: Path) -> None:
    settled.chmod(0o755)
    assert contents.look(str(settled)) == (0o755, sha256(b"before"))
    settled.unlink()
    settled.symlink_to("elsewhere")
    assert contents.look(str(settled)) == (LINK_MODE, sha256(b"elsewhere"))


def test_changes_faster_than_the_clock_of_the_file_system_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for number in range(300):
        data = f"{number:06}".encode()
        with file.open("wb") as stream:
            stream.write(data)
        assert contents.look(str(file))[1] == sha256(data)
