"""What a node process reads from its environment."""

from __future__ import annotations

import pytest

from lib.node.settings import NodeSettings

GIVEN = {
    f"AMPZERO_{name}": f"/there/{name}"
    for name in ("INSTANCE", "DIRECTORY", "VAR", "CONTROL", "EVENTS")
}  # fmt: skip


@pytest.mark.parametrize(
    ("spawn", "successor"),
    [
        ({}, False),
        ({"AMPZERO_SPAWN": "ampnode.1:1:/v:1"}, False),
        ({"AMPZERO_SPAWN": "ampnode.1:2:/v"}, True),
    ],
)
def test_who_takes_over_from_another_loads_its_pages_before_it_serves(
    spawn: dict[str, str], successor: bool
) -> None:
    """The first requests after a rolling restart waited for the template library: 16 ms instead of 0.4."""
    assert NodeSettings.from_environment(GIVEN | spawn).successor is successor
