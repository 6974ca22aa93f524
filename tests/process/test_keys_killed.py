"""A change of keys killed before each of its steps in turn: the keys are valid, and it can be completed."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from pathlib import Path

import pytest
from keys_support import KeysPlace

from keys import history, keyfile
from keys.lifecycle.journal import Journal

EVENTS = {"open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.chmod", "sqlite3.connect"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def is_step(event: str, given: tuple[object, ...], folder: Path) -> bool:
    """Whether this changes a file in `folder`, at the hub as well (Python's table of audit events)."""
    if event not in EVENTS or not given or str(folder) not in str(given[0]):
        return False
    return event != "open" or bool(isinstance(given[2], int) and given[2] & WRITES)


def killed(place: KeysPlace, words: str, step: int) -> bool:
    """Do it in a process that kills itself before the step; whether it came that far."""
    pid = os.fork()
    if pid == 0:
        left = step

        def watch(event: str, given: tuple[object, ...]) -> None:
            nonlocal left
            if is_step(event, given, place.base):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(watch)
            place.do(words)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), "see the traceback"
    return code != 0


def valid(place: KeysPlace) -> None:
    """What must hold at every moment: the keys on the disk are those of the statements on the disk, which
    are of the hub's chains."""
    found = place.found
    for kind, said in (("user", found.user), ("host", found.host)):
        chain = history.verified(place.hub.operations(said.id))
        assert chain.has(said.head)
        if said.signing is not None:
            assert keyfile.load(found.path(kind, "private")).public == said.signing
        control = keyfile.load(found.path(kind, "control")).public
        assert control in [entry.key for entry in said.control]


@pytest.mark.parametrize(
    ("words", "seqs"),
    [
        ("rotate user --control", (2, 2)),
        ("rotate host", (1, 2)),
        ("recover host", (1, 2)),
        ("revoke user", (2, 1)),
    ],
)
def test_killed_before_each_of_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, seqs: tuple[int, int]
) -> None:
    first = KeysPlace(tmp_path / "first", monkeypatch)
    old = {path.read_bytes() for path in first.folder.glob("*.p*.key")}
    resumed = 0
    for step in range(400):
        place = first.copy(tmp_path / "again", monkeypatch)
        if not killed(place, words, step):
            break
        valid(place)
        begun = Journal(place.found.user.genesis).read() is not None or place.seqs() != (1, 1)
        if not (begun and Journal(place.found.user.genesis).read() is None):
            # It was not done yet: the same command does it, or completes it, and does it once.
            resumed += place.do(words).resumed
        assert place.seqs() == seqs
        assert place.problems() == []
        assert not list(place.folder.glob("*.previous"))
        assert Journal(place.found.user.genesis).read() is None
        kept = {path.read_bytes() for path in place.base.rglob("*.key")}
        assert {raw for raw in old if b"PRIVATE" in raw} <= kept, "an old key is lost"
        shutil.rmtree(place.base)
    else:
        raise AssertionError("never done")
    assert step > 20 and resumed > 10, (step, resumed)
