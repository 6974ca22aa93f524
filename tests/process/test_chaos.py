"""A short storm (`make chaos` is the long one): whatever is done to an instance, nothing is lost or left."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from chaos_model import Broken
from chaos_support import Chaos
from running_support import Running

MakeRunning = Callable[..., Running]

SECONDS = 12.0
LAST = 30


@pytest.mark.parametrize("seed", [1])
def test_nothing_is_lost_or_left_in_a_storm(make_running: MakeRunning, seed: int) -> None:
    chaos = Chaos(make_running("services: {}\n"), seed, sys.executable)
    try:
        chaos.run(SECONDS)
    except Broken as error:
        # Repeated for longer by `make chaos ARGS="--seed N"`.
        pytest.fail(f"seed {seed}: {error}\n" + "\n".join(chaos.journal[-LAST:]))
    finally:
        chaos.end()
    assert len(chaos.journal) > 3
