"""Instances and hubs by command: init --hub, register, announce, lookup, log, status, move; and kills."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_support import LIFTED, Served, serving
from support import Ampzero, Result

from keys.hub import LocalHub
from keys.identities import load_identities

ROUNDS = 16


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("hub") / "data", *LIFTED) as served:
        yield served


def init(ampzero: Ampzero, place: Path, name: str, *options: str) -> Result:
    return ampzero("init", name, "--yes", "--dir", place, "--set", f"root={place}/var", *options)


def test_an_instance_of_a_hub_that_runs_elsewhere(ampzero: Ampzero, tmp_path: Path, hub: Served) -> None:
    done = init(ampzero, tmp_path, "shop", "--hub", str(hub.reference))
    assert done.code == 0, done.err
    folder = tmp_path / "shop"
    made = load_identities(folder / "ampnode")
    assert made.hub == hub.client().name
    assert f"{made.user_id}, {made.host_id} (hub {made.hub})" in done.out
    said = ampzero("hub", "--json", "lookup", made.host_id, "-i", folder)
    found = json.loads(said.out)
    assert (found["id"], found["owner"], found["genesis"]) == (made.host_id, made.user_id, made.host.genesis)
    assert found["operations"][0]["action"] == "register"
    told = ampzero("hub", "announce", folder, "--address", "203.0.113.7:8043", "--minutes", "5")
    assert (told.code, "observed: 127.0.0.1" in told.out) == (0, True), told.err
    assert "203.0.113.7:8043" in ampzero("hub", "lookup", made.host_id, "--hub", str(hub.reference)).out
    assert made.host_id in ampzero("hub", "log", folder, "--last", "5").out
    status = ampzero("hub", "status", folder)
    assert str(hub.reference) in status.out
    before = {path.name: path.read_bytes() for path in (folder / "ampnode").glob("*.key")}
    again = ampzero("hub", "register", folder)
    assert (again.code, "nothing to change" in again.out) == (0, True), again.err
    assert {path.name: path.read_bytes() for path in (folder / "ampnode").glob("*.key")} == before


def test_what_is_not_there_has_its_exit_code(ampzero: Ampzero, tmp_path: Path, hub: Served) -> None:
    assert init(ampzero, tmp_path, "local").code == 0
    folder = tmp_path / "local"
    for arguments, code in (
        (("lookup", "host-999999", "--hub", str(hub.reference)), 5),
        (("lookup", "nobody", "--hub", str(hub.reference)), 1),
        (("status", "--hub", f"{hub.url}#{'A' * 43}"), 1),
        (("status", "--hub", hub.url), 2),
        (("status", folder), 2),
        (("status", tmp_path / "none"), 5),
        (("move", folder, "http://hub.example#x"), 2),
        (("announce", folder, "--address", "example.org:80"), 1),
        (("backup", "--data", tmp_path / "no-hub", tmp_path / "b"), 5),
        (("restore", tmp_path / "no-backup"), 5),
    ):
        done = ampzero("hub", *arguments)
        assert (done.code, done.err.count("error:")) == (code, 1), (arguments, done.err)
    dead = f"http://127.0.0.1:1#{'A' * 43}"
    refused = init(ampzero, tmp_path, "other", "--hub", dead)
    assert refused.code == 12, refused.err
    assert not (tmp_path / "other").exists()


def test_moved_from_the_local_hub_and_back(ampzero: Ampzero, tmp_path: Path, hub: Served) -> None:
    assert init(ampzero, tmp_path, "shop").code == 0
    folder = tmp_path / "shop"
    before = load_identities(folder / "ampnode")
    secrets = {
        before.path(kind, part).read_bytes() for kind in ("user", "host") for part in ("private", "control")
    }
    moved = ampzero("hub", "--json", "move", folder, str(hub.reference))
    assert moved.code == 0, moved.err
    after = load_identities(folder / "ampnode")
    assert json.loads(moved.out)["user"] == after.user_id
    assert after.hub == hub.client().name
    assert (after.user.genesis, after.host.genesis) == (before.user.genesis, before.host.genesis)
    keys = [path.name for path in (folder / "ampnode").glob("*.key")]
    assert len(keys) == 9, keys
    for kind in ("user", "host"):
        for part in ("private", "control"):
            path = after.path(kind, part)
            assert path.read_bytes() in secrets
            assert path.stat().st_mode & 0o777 == 0o600
    hub.client().prove(after.host_id)
    assert not list((folder / "ampnode").glob(".*"))
    assert ampzero("hub", "move", folder, "local").code == 0
    assert load_identities(folder / "ampnode").host_id == before.host_id, "the id that it had"


def test_killed_at_random_moments_a_move_leaves_one_set_of_keys(
    ampzero: Ampzero, tmp_path: Path, hub: Served
) -> None:
    assert init(ampzero, tmp_path, "shop").code == 0
    folder = tmp_path / "shop"
    first = load_identities(folder / "ampnode")
    local = LocalHub.open().name
    began = time.monotonic()
    assert ampzero("hub", "move", folder, str(hub.reference)).code == 0
    takes = time.monotonic() - began
    there = load_identities(folder / "ampnode")
    dice, seen = random.Random(11), set()
    for _ in range(ROUNDS):
        now = load_identities(folder / "ampnode")
        target = str(hub.reference) if now.hub == local else "local"
        process = subprocess.Popen(
            [ampzero.path, "hub", "move", str(folder), target],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(takes * dice.uniform(0.4, 1.0))  # the moment of the kill is what is tried here
        process.send_signal(signal.SIGKILL)
        process.wait()
        left = load_identities(folder / "ampnode")
        seen.add(left.hub)
        expected = first if left.hub == local else there
        assert (left.user_id, left.host_id) == (expected.user_id, expected.host_id), "no other id was given"
        assert len(list((folder / "ampnode").glob("*.key"))) == 9
        assert all(
            left.path(kind, part).exists() for kind in ("user", "host") for part in ("private", "control")
        )
    assert ampzero("hub", "move", folder, str(hub.reference)).code == 0
    after = load_identities(folder / "ampnode")
    assert (after.user_id, after.host_id) == (there.user_id, there.host_id)
    assert not list((folder / "ampnode").glob(".*"))


def test_a_move_killed_before_each_change_of_the_disk(tmp_path: Path) -> None:
    """Every rename, link, unlink and rmtree in the folder of keys may be the last thing that is done."""
    program = tmp_path / "move.py"
    program.write_text(KILLED)
    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run(
        [sys.executable, str(program), str(tmp_path)], cwd=root, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(root)}, timeout=280,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    steps, after = map(int, ran.stdout.split())
    assert steps > 30
    assert 0 < after < steps, "some kills came after the move was decided, and some before"


KILLED = """
import os, shutil, sys
from hashlib import sha256
from pathlib import Path
from keys import moving
from keys.hub import LocalHub
from keys.identities import create_identities, load_identities
base = Path(sys.argv[1])
mine, other = LocalHub.open(), LocalHub.open(base / "other/hub")

def digests(folder):
    return {sha256(path.read_bytes()).digest() for path in folder.glob("*.control.key")}

def killed(folder, step):
    left = [step]
    def deadly(real):
        def call(*args, **kwargs):
            if str(folder) in " ".join(map(str, args)):
                if not left[0]:
                    os._exit(9)
                left[0] -= 1
            return real(*args, **kwargs)
        return call
    for name in ("rename", "replace", "link", "unlink", "rmdir", "mkdir"):
        setattr(os, name, deadly(getattr(os, name)))
    shutil.rmtree = deadly(shutil.rmtree)
    moving.move(folder, other)
    os._exit(0)

step, code, decided = 0, 9, 0
while code == 9:
    folder = base / f"ampnode-{step}"
    folder.mkdir()
    made = create_identities(folder, hub=mine, pending=base / f"pending-{step}")
    secrets = digests(folder)
    child = os.fork()
    if child == 0:
        killed(folder, step)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9), code
    left = load_identities(folder)
    assert left.hub in (mine.name, other.name)
    decided += left.hub == other.name and code == 9
    assert left.user.genesis == made.user.genesis
    assert digests(folder) == secrets
    assert not list(folder.glob(".moved*")), list(folder.glob(".*"))
    moved = moving.move(folder, other)
    assert moved.identities.hub == other.name
    assert moved.identities.host_id == f"host-{step + 1}", "an id was burnt"
    assert len(list(folder.glob("*.key"))) == 9
    assert not list(folder.glob(".*")), list(folder.glob(".*"))
    step += 1
print(step, decided)
"""


def test_init_killed_at_random_moments_burns_no_id(ampzero: Ampzero, tmp_path: Path) -> None:
    with serving(tmp_path / "hub", *LIFTED) as hub:
        place = tmp_path / "place"
        place.mkdir()
        options = ("--hub", str(hub.reference))
        began = time.monotonic()
        assert init(ampzero, place, "first", *options).code == 0
        takes = time.monotonic() - began
        dice, serial = random.Random(7), 0
        for _ in range(ROUNDS):
            argv = [ampzero.path, "init", f"app{serial}", "--yes", "--dir", str(place), "--set",
                    f"root={place}/var", *options]  # fmt: skip
            process = subprocess.Popen(
                argv, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(takes * dice.uniform(0.2, 1.05))  # the moment of the kill is what is tried here
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            serial += (place / f"app{serial}").exists()
        for number in (serial, serial + 1):
            assert init(ampzero, place, f"app{number}", *options).code == 0
        numbers = sorted(
            int(re.sub(r"\D", "", path.name)) for path in place.glob("*/ampnode/user-*.public.key")
        )
        assert numbers == list(range(1, serial + 4)), "an id was burnt"
        assert hub.client().log.look().size == 2 * len(numbers)


def test_a_back_up_is_restored_and_a_rewritten_one_refused(ampzero: Ampzero, tmp_path: Path) -> None:
    with serving(tmp_path / "hub") as hub:
        assert init(ampzero, tmp_path, "one", "--hub", str(hub.reference)).code == 0
        done = ampzero("hub", "backup", "--data", hub.folder, tmp_path / "early")
        assert (done.code, "2 log entries" in done.out) == (0, True), done.err
        assert init(ampzero, tmp_path, "two", "--hub", str(hub.reference)).code == 0
        assert ampzero("hub", "backup", "--data", hub.folder, tmp_path / "late").code == 0
    early = ampzero("hub", "restore", tmp_path / "early", "--data", hub.folder)
    assert early.code == 11, "it would take back what was signed"
    (tmp_path / "hub/hub.sqlite").unlink()
    late = ampzero("hub", "restore", tmp_path / "late", "--data", hub.folder)
    assert (late.code, "4 log entries" in late.out) == (0, True), late.err
    with serving(tmp_path / "hub", port=hub.port) as again:
        assert ampzero("hub", "register", tmp_path / "two").code == 0
        assert again.client().log.look().size == 4
