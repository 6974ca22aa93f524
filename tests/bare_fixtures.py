"""Bare Debian machines for tests: made with `make_machine()`, gone at the end, also when the test failed."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from bare_support import Machine, debootstrap, machine, why_not


@pytest.fixture(scope="session", params=["bookworm", "trixie"])
def bare_root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A debootstrapped Debian, which machines share and nobody changes. Skips where there can be none."""
    if reason := why_not():
        pytest.skip(reason)
    return debootstrap(tmp_path_factory.mktemp("bare") / request.param, request.param)


@pytest.fixture
def make_machine(bare_root: Path, tmp_path: Path) -> Iterator[Callable[[], Machine]]:
    """Gives `make_machine()`: a machine that is not up yet."""
    with ExitStack() as machines:
        yield lambda: machines.enter_context(machine(bare_root, tmp_path / f"machine-{uuid.uuid4().hex[:8]}"))
