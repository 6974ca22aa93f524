"""A hub's process that is killed at any moment: no id is burnt twice, nothing that was said is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from identity_support import NOW, Party

from keys import history, statement
from keys.hub import Hub
from keys.hub.backup import check_entries
from keys.hub.making import make
from keys.log import checkpoint, entry, merkle
from keys.log.proof import verify_consistency, verify_inclusion

ROOT = Path(__file__).resolve().parents[2]

WORK = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/tests"]
from identity_support import Party
from keys import statement
from keys.hub import Hub
hub = Hub.open(Path(sys.argv[1]))
{watch}
print("open", flush=True)
while True:
    user = Party()
    id = statement.parse(hub.register(user.first))[0].id
    print("id", id, user.genesis, flush=True)
    host = Party(user)
    hub.operate(id, user.change())
    print("head", id, user.head, flush=True)
    print("size", statement.parse(hub.statement(id))[0].index, hub.checkpoint().splitlines()[1], flush=True)
"""
AT_STEP = """
import os, signal
left = int(sys.argv[3])
class Watched:
    def __init__(self, work): self.work, self.connection = work, work.connection
    def __getattr__(self, name):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return getattr(self.work, name)
import keys.hub.sqlite as module
from contextlib import contextmanager
original = module.SqliteDatabase.writing
@contextmanager
def writing(self, **given):
    with original(self, **given) as work:
        yield Watched(work)
    Watched(work).one
module.SqliteDatabase.writing = writing
"""


def start(folder: Path, watch: str = "", *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORK.replace("{watch}", watch), str(folder), str(ROOT), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


def check(folder: Path, lines: list[str]) -> int:
    """All that a killed process has said holds; the number of users."""
    hub = Hub.open(folder)
    users = hub.counts()["users"]
    with hub.database.reading() as work:
        check_entries(work)
    now = checkpoint.parse(hub.checkpoint())[0]
    for line in lines:
        word, *rest = line.split()
        if word == "id":
            assert history.verified(hub.operations(rest[0])).operations[0].operation.digest == rest[1]
        elif word == "head":
            about = statement.parse(hub.statement(rest[0]))[0]
            assert about.head == rest[1]
            leaf = merkle.leaf(entry.encode(rest[0], hub.operations(rest[0])[-1]))
            verify_inclusion(about.index, now.size, leaf, hub.inclusion(about.index, now.size), now.root)
    for number in range(1, users + 1):
        hub.operations(f"user-{number}")
    hub.close()
    return users


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path / "hub", "hub.example", "https://hub.example", NOW)
    return tmp_path / "hub"


def test_killed_at_any_moment(folder: Path) -> None:
    dice = random.Random(os.urandom(8))
    said: list[str] = []
    ids: set[str] = set()
    seen = checkpoint.parse(Hub.open(folder).checkpoint())[0]
    for _ in range(4):
        process = start(folder)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        # Not a wait for something: the random moment of the kill is what is tested.
        time.sleep(dice.uniform(0.01, 0.4))
        process.kill()
        out, _ = process.communicate(timeout=60)
        lines = out.split("\n")[:-1]
        new = [line.split()[1] for line in lines if line.startswith("id ")]
        assert len(set(new)) == len(new)
        assert not ids & set(new)
        ids |= set(new)
        said += lines
        assert check(folder, said) >= len(ids)
        hub = Hub.open(folder)
        now = checkpoint.parse(hub.checkpoint())[0]
        verify_consistency(seen.size, seen.root, now.size, now.root, hub.consistency(seen.size, now.size))
        seen = now
        hub.close()


def test_killed_before_each_step_of_a_registration_and_an_operation(folder: Path) -> None:
    """Every command of a transaction is a step, and so is what comes after its end."""
    users = 0
    for step in range(60):
        process = start(folder, AT_STEP, str(step))
        out, errors = process.communicate(timeout=60)
        assert process.returncode == -9, errors
        lines = out.split("\n")[1:-1]
        count = check(folder, lines)
        given = [line.split()[1] for line in lines if line.startswith("id ")]
        assert given == [f"user-{users + 1 + number}" for number in range(len(given))]
        assert count - users - len(given) in (0, 1)  # one may be registered whose caller never heard of it
        users = count
        if len(given) > 1:
            break
    else:
        raise AssertionError("never through a whole round")


def test_who_never_heard_the_answer_gets_the_same_id(folder: Path) -> None:
    hub = Hub.open(folder)
    user = Party()
    text = hub.register(user.first)
    hub.close()
    again = Hub.open(folder)
    assert again.register(user.first) == text
    signed = user.change()
    after = again.operate("user-1", signed)
    again.close()
    assert Hub.open(folder).operate("user-1", signed) == after
