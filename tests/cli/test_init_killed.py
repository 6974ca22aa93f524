"""`ampzero init` killed at any moment leaves nothing or a whole instance, and burns no id."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

from support import Ampzero, Result, wait_for

ROUNDS = 24


def whole(folder: Path) -> bool:
    """Whether the instance is whole: loads, keys in place, git clean and sound."""
    from keys.identities import load_identities
    from lib import loader

    loader.load_instance(str(folder))
    made = load_identities(folder / "ampnode")
    assert all(made.path(kind, part).exists() for kind in ("user", "host") for part in ("private", "control"))
    status = subprocess.run(["git", "status", "--porcelain"], cwd=folder, capture_output=True, check=True)
    assert status.stdout == b""
    subprocess.run(["git", "fsck", "--strict"], cwd=folder, capture_output=True, check=True)
    assert (folder / "nginx/server.key").exists()
    return True


def init(ampzero: Ampzero, place: Path, name: str) -> Result:
    return ampzero("init", name, "--yes", "--dir", place, "--set", f"root={place}/var")


def test_killed_at_random_moments(ampzero: Ampzero, tmp_path: Path) -> None:
    began = time.monotonic()
    assert init(ampzero, tmp_path, "first").code == 0
    takes = time.monotonic() - began
    dice = random.Random(7)
    serial, ids, left_hidden = 0, [1], 0
    for _ in range(ROUNDS):
        name = f"app{serial}"
        argv = [ampzero.path, "init", name, "--yes", "--dir", str(tmp_path), "--set", f"root={tmp_path}/var"]
        process = subprocess.Popen(
            argv, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(takes * dice.uniform(0.2, 1.05))  # the moment of the kill is what is tried here
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        hidden = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
        assert len(hidden) <= 1, "an earlier one was not removed"
        left_hidden += len(hidden)
        if (tmp_path / name).exists():
            assert whole(tmp_path / name)
            serial += 1
    for number in (serial, serial + 1):
        done = init(ampzero, tmp_path, f"app{number}")
        assert done.code == 0, done.err
        assert whole(tmp_path / f"app{number}")
    assert left_hidden > 0, "no kill came in the middle of the work"
    assert {path.name for path in tmp_path.iterdir()} == {
        "var",
        "first",
        *(f"app{n}" for n in range(serial + 2)),
    }
    ids = sorted(int(re.sub(r"\D", "", path.name)) for path in tmp_path.glob("*/ampnode/user-*.public.key"))
    assert ids == list(range(1, serial + 4)), "an id was burnt"


def test_an_error_in_the_middle_leaves_nothing_and_burns_no_id(ampzero: Ampzero, tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    place = tmp_path / "place"
    place.mkdir()
    argv = ("init", "app", "--yes", "--dir", place, "--set", f"root={tmp_path}/var")
    done = ampzero(*argv, env={"PATH": str(empty)})  # no git
    assert done.code == 5
    assert "git is not installed" in done.err
    assert list(place.iterdir()) == []
    done = ampzero(*argv)
    assert "user-1, host-1" in done.out


def test_one_that_is_at_work_is_left_alone(ampzero: Ampzero, tmp_path: Path) -> None:
    from lib.init import scaffold

    with scaffold.staged(tmp_path / "other") as folder:
        (folder / "file").touch()
        assert init(ampzero, tmp_path, "app").code == 0
        assert (folder / "file").exists()
    assert not folder.exists()


def test_two_at_once_for_one_name(ampzero: Ampzero, tmp_path: Path) -> None:
    argv = [ampzero.path, "init", "app", "--yes", "--dir", str(tmp_path), "--set", f"root={tmp_path}/var"]
    both = [subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(3)]
    assert wait_for(lambda: all(process.poll() is not None for process in both), seconds=60)
    errors = [process.stderr.read().decode() for process in both if process.stderr]
    for process in both:
        assert process.stderr
        process.stderr.close()
    assert sorted(process.returncode for process in both) == [0, 7, 7], errors
    assert whole(tmp_path / "app")
    assert {path.name for path in tmp_path.iterdir()} == {"app", "var"}
