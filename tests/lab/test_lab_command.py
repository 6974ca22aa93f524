"""`ampzero lab`, as one types it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_support import left_of
from support import Ampzero, as_user

from deploy.lab import Lab
from deploy.lab.lab import take_down
from deploy.lab.record import FOLDER

pytestmark = pytest.mark.root


@pytest.fixture
def name(lab_machine: None) -> Iterator[str]:
    """The name of a lab that is gone in the end."""
    made = f"cli-{uuid.uuid4().hex[:8]}"
    yield made
    if (FOLDER / made).exists():
        take_down(made)


def test_a_lab_from_up_to_down(ampzero: Ampzero, name: str) -> None:
    up = ampzero("lab", "up", "2", "--name", name)
    assert up.code == 0, up
    assert up.out.startswith(
        f"environments:\n  {name}:\n    hosts:\n      - {{name: host-1, address: root@10.213."
    )
    assert f"ssh -F /run/ampzero-lab/{name}/ssh/config host-1" in up.err
    again = ampzero("lab", "up", "2", "--name", name)
    assert (again.code, again.err.splitlines()) == (
        7, [f"ampzero: error: there is a lab {name!r} already", f"hint: ampzero lab down {name}"]
    )  # fmt: skip
    assert ampzero("lab", "exec", "--name", name, "2", "--", "sh", "-c", "hostname; exit 4").out == "host-2\n"
    assert ampzero("lab", "exec", "--name", name, "2", "--", "sh", "-c", "exit 4").code == 4
    assert ampzero("lab", "kill", "--name", name, "host-1").code == 0
    assert ampzero("lab", "cut", "--name", name, "host-2").code == 0
    shown = ampzero("lab", "status", "--name", name)
    assert [line.split()[2:] for line in shown.out.splitlines()] == [
        ["no", "power"],
        ["running", "cable", "cut"],
    ]
    dead = ampzero("lab", "exec", "--name", name, "host-1", "--", "true")
    assert (dead.code, dead.err.splitlines()[0]) == (10, "ampzero: error: host-1 has no power")
    assert ampzero("lab", "boot", "--name", name, "host-1").code == 0
    assert ampzero("lab", "mend", "--name", name, "host-2").code == 0
    facts = json.loads(ampzero("lab", "status", "--name", name, "--json").out)
    assert [(host["name"], host["power"], host["cable"]) for host in facts["hosts"]] == [
        ("host-1", True, True), ("host-2", True, True)
    ]  # fmt: skip
    assert ampzero("lab", "down", name).err == f"lab {name} is gone\n"
    assert left_of(name) == []
    assert ampzero("lab", "down", name).code == 5


def test_up_writes_the_lab_into_an_instance(ampzero: Ampzero, name: str, tmp_path: Path) -> None:
    (tmp_path / "amprun.yaml").write_text("name: demo\nservices: {}\n")
    done = ampzero("lab", "up", "1", "--name", name, "--into", str(tmp_path))
    assert done.code == 0, done
    assert f"  {name}:\n    hosts:\n" in (tmp_path / "deployment.yaml").read_text()


def test_a_file_that_cannot_take_the_lab_leaves_none_behind(
    ampzero: Ampzero, name: str, tmp_path: Path
) -> None:
    (tmp_path / "amprun.yaml").write_text("name: demo\nservices: {}\n")
    (tmp_path / "deployment.yaml").write_text("environments: [one]\n")
    done = ampzero("lab", "up", "1", "--name", name, "--into", str(tmp_path))
    assert (done.code, len(done.err.splitlines())) == (4, 2), done
    assert left_of(name) == []


@pytest.mark.parametrize(("words", "code", "message"), [
    (["up", "0"], 2, "0 is not in the range"),
    (["up", "100000"], 2, "a lab has 1 to 4084 hosts"),
    (["up", "--name", "No.Name"], 2, "is no name for a lab"),
    (["up", "--loss", "101%"], 2, "is no percentage"),
    (["up", "--loss", "much"], 2, "is no percentage"),
    (["up", "--rtt", "soon"], 4, "is not a duration"),
    (["up", "--opt-size", "big"], 4, "is not a size"),
    (["up", "--into", "no-such-instance"], 5, "no-such-instance"),
    (["status", "--name", "no-such-lab"], 5, "there is no lab 'no-such-lab'"),
    (["exec", "--name", "no-such-lab", "1", "--", "true"], 5, "there is no lab 'no-such-lab'"),
    (["down", "no-such-lab"], 5, "there is no lab 'no-such-lab'"),
    (["down", "../up"], 2, "is no name for a lab"),
])  # fmt: skip
def test_what_makes_no_sense_is_one_line_and_a_hint(
    ampzero: Ampzero, lab_machine: None, words: list[str], code: int, message: str
) -> None:
    done = ampzero("lab", *words)
    assert (done.code, done.out) == (code, ""), done
    assert message in done.err.splitlines()[0]
    assert len(done.err.splitlines()) == 2


def test_an_unknown_host_is_named(ampzero: Ampzero, name: str) -> None:
    with Lab.make(name, 1):
        done = ampzero("lab", "kill", "--name", name, "host-9")
    assert done.code == 2
    assert "has no host 'host-9'" in done.err


def test_a_user_without_root_rights_hears_that_root_is_needed(ampzero: Ampzero, lab_machine: None) -> None:

    done = Ampzero(as_user())("lab", "up", cwd=Path("/"))
    assert (done.code, done.err.splitlines()[0]) == (
        1, "ampzero: error: a lab needs root: it makes network namespaces"
    )  # fmt: skip
    assert done.err.splitlines()[1].startswith("hint: sudo /")
