"""Several processes at the hub, the CA and the pending keys; and a SIGKILL at any moment."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keys.hub import LocalHub
from keys.identities import load_identities
from keys.tls.authority import Authority, needs_renewal
from lib.errors import MissingError

CREATE = """
import os, sys
from pathlib import Path
from keys.hub import LocalHub
from keys.identities import create_identities
from keys.keyfile import PrivateKey
data, folder, passphrase = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
PrivateKey.generate()
sys.stdout.write("go\\n"); sys.stdout.flush(); sys.stdin.readline()
hub = LocalHub.open(data / "hub")
pending = data / "pending" / folder.parent.name
made = create_identities(folder, hub=hub, pending=pending, passphrase=passphrase)
print(made.user_id, made.host_id)
"""
OPEN_CA = """
import sys
from pathlib import Path
import keys.tls.authority
sys.stdout.write("go\\n"); sys.stdout.flush(); sys.stdin.readline()
folder = Path(sys.argv[1])
authority = keys.tls.authority.Authority.open(folder / "ca")
leaf = folder / (sys.argv[2] + ".cert")
authority.issue(leaf, leaf.with_suffix(".key"), ["localhost"], ["127.0.0.1"])
"""


class Child:
    """A Python process that has imported everything and waits for `go`."""

    def __init__(self, program: str, *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=Path(__file__).resolve().parents[2],
        )  # fmt: skip
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "go\n":
            _, errors = self.process.communicate(timeout=60)
            raise AssertionError(errors)

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> str:
        out, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, errors
        return out

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)


def ids(data: Path) -> set[str]:
    """Every id that the hub ever gave out."""
    hub, found = LocalHub.open(data / "hub"), set()
    for kind in ("user", "host"):
        number = 1
        while True:
            try:
                hub.operations(f"{kind}-{number}")
            except MissingError:
                break
            found.add(f"{kind}-{number}")
            number += 1
    return found


def test_processes_register_at_the_same_time(tmp_path: Path) -> None:
    """The hub's first opening and the registrations race; every id is given once and none is left out."""
    children = []
    for number in range(6):
        folder = tmp_path / f"instance-{number}/ampnode"
        folder.mkdir(parents=True)
        children.append(Child(CREATE, tmp_path / "data", folder, ""))
    try:
        for child in children:
            child.go()
        given = [tuple(child.end().split()) for child in children]
    finally:
        for child in children:
            child.kill()
    assert sorted(user for user, _ in given) == [f"user-{number}" for number in range(1, 7)]
    assert sorted(host for _, host in given) == [f"host-{number}" for number in range(1, 7)]
    hubs = {(tmp_path / f"instance-{number}/ampnode/hub.public.key").read_text() for number in range(6)}
    assert len(hubs) == 1
    for number, (user, host) in enumerate(given):
        made = load_identities(tmp_path / f"instance-{number}/ampnode")
        assert (made.user_id, made.host_id) == (user, host)


@pytest.mark.parametrize("passphrase", ["", "correct horse"])
def test_killed_at_any_moment_it_burns_no_id(tmp_path: Path, passphrase: str) -> None:
    """Each instance is killed at random moments, in a new tree each time as init does, until one try ends."""
    dice = random.Random(os.urandom(8))
    data = tmp_path / "data"
    instances, kills = (2, 3) if passphrase else (3, 4)
    # The longest moment is that of a whole run, measured; with a passphrase most of it is spent on the keys.
    (tmp_path / "measure/ampnode").mkdir(parents=True)
    child = Child(CREATE, tmp_path / "measured", tmp_path / "measure/ampnode", passphrase)
    began = time.monotonic()
    child.go()
    child.end()
    whole = time.monotonic() - began
    for number in range(instances):
        folder = tmp_path / f"instance-{number}/ampnode"
        for _ in range(kills):
            shutil.rmtree(folder.parent, ignore_errors=True)
            folder.mkdir(parents=True)
            child = Child(CREATE, data, folder, passphrase)
            child.go()
            # Not a wait for something: the random moment of the kill is what is tested.
            time.sleep(dice.uniform(0, whole))
            child.kill()
        shutil.rmtree(folder.parent)
        folder.mkdir(parents=True)
        child = Child(CREATE, data, folder, passphrase)
        child.go()
        assert child.end().split() == [f"user-{number + 1}", f"host-{number + 1}"]
        assert load_identities(folder).encrypted == bool(passphrase)
    assert ids(data) == {f"{kind}-{number + 1}" for kind in ("user", "host") for number in range(instances)}


STOP_AT = """
import os, signal, sys
left = int(sys.argv[4])
def watch(event, given):
    global left
    if event in ("open", "os.link", "os.rename", "os.remove", "os.mkdir", "sqlite3.connect"):
        place = str(given[0]) if given else ""
        if sys.argv[1] in place or sys.argv[2] in place:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_before_each_of_its_steps_in_turn(tmp_path: Path) -> None:
    """Every file that it opens, links or renames is a step; the process kills itself before the n-th."""
    program = STOP_AT + CREATE.replace(
        "sys.stdin.readline()", "sys.stdin.readline(); sys.addaudithook(watch)"
    )
    data = tmp_path / "data"
    LocalHub.open(data / "hub")
    folder = tmp_path / "instance/ampnode"
    for step in range(200):
        shutil.rmtree(folder.parent, ignore_errors=True)
        folder.mkdir(parents=True)
        child = Child(program, data, folder, "", str(step))
        child.go()
        out, errors = child.process.communicate(timeout=60)
        assert child.process.returncode in (0, -9), errors
        if child.process.returncode == 0:
            assert out.split() == ["user-1", "host-1"]
            break
    else:
        raise AssertionError("never done")
    assert step > 20
    assert ids(data) == {"user-1", "host-1"}
    assert load_identities(folder).user_id == "user-1"


def test_processes_open_the_ca_at_the_same_time(tmp_path: Path) -> None:
    children = [Child(OPEN_CA, tmp_path, f"leaf-{number}") for number in range(4)]
    try:
        for child in children:
            child.go()
        for child in children:
            child.end()
    finally:
        for child in children:
            child.kill()
    ca = Authority.open(tmp_path / "ca").ca_file
    for number in range(4):
        certificate, key = tmp_path / f"leaf-{number}.cert", tmp_path / f"leaf-{number}.key"
        assert not needs_renewal(certificate, ca, key=key, names=["localhost"], addresses=["127.0.0.1"])
