"""What is left of a lab whose maker was killed is swept away, and nobody else's is."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress

import pytest
from lab_support import MakeLab, left_of
from support import wait_for

from deploy.lab import Lab
from deploy.lab.lab import take_down
from lib.errors import MissingError

pytestmark = pytest.mark.root

MAKER = """
import os, signal, sys
from deploy.lab import Host, Lab, disk
from deploy.lab.login import Login
from deploy.lab.network import Network

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

name, point = sys.argv[1:]
owner, _, method = point.partition(".")
if method:
    setattr({"Host": Host, "Login": Login, "Network": Network, "disk": disk, "Lab": Lab}[owner], method, die)
Lab.make(name, 2)
die()
"""
"""Makes a lab and is killed when it gets to the point that is named, or when it has made it."""

POINTS = ["Lab._build", "Network.make", "Login.make_key", "disk.make", "Network.plug", "Host.wait", "end"]


@pytest.fixture
def killed(lab_machine: None) -> Callable[[str], str]:
    """Gives `killed(point)`: makes a lab whose maker is killed there; its name."""

    def make(point: str) -> str:
        name = f"dead-{uuid.uuid4().hex[:8]}"
        done = subprocess.run(
            [sys.executable, "-c", MAKER, name, point], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == -9, done
        return name

    return make


@pytest.mark.parametrize("point", POINTS)
def test_the_next_lab_sweeps_away_a_dead_one(
    killed: Callable[[str], str], make_lab: MakeLab, point: str
) -> None:
    name = killed(point)
    make_lab(1)
    # A lab that another test makes at the same time may be the one that sweeps it, and be at it still.
    assert wait_for(lambda: left_of(name) == []), left_of(name)


def test_down_takes_a_dead_lab_away(killed: Callable[[str], str]) -> None:
    name = killed("end")
    with suppress(MissingError):  # a lab that another test makes meanwhile sweeps it as well
        take_down(name)
    assert wait_for(lambda: left_of(name) == []), left_of(name)


def test_nobody_sweeps_a_lab_whose_maker_lives_or_that_is_kept(make_lab: MakeLab) -> None:
    alive = make_lab(1)
    kept = Lab.make(f"kept-{uuid.uuid4().hex[:8]}", 1)
    try:
        kept.keep()
        make_lab(1)
        assert alive.running() == {"host-1"}
        assert Lab.find(kept.name).running() == {"host-1"}
    finally:
        take_down(kept.name)
    assert left_of(kept.name) == []


def test_a_folder_that_somebody_removed_is_no_hindrance(make_lab: MakeLab) -> None:
    lab = make_lab(1)
    assert lab.record.folder.is_dir()
    (lab.record.folder / "lab.json").unlink()
    lab.down()
    assert left_of(lab.name) == []
