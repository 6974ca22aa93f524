from __future__ import annotations

from typing import get_args

import pytest

from lib.statusview import COLOURS
from lib.supervisor.service import WORST_FIRST
from lib.supervisor.states import ALIVE, FOLLOWERS, SETTLED, State, check

STATES = get_args(State)


def test_every_state_has_its_followers_and_they_are_states() -> None:
    assert set(FOLLOWERS) == set(STATES)
    for followers in FOLLOWERS.values():
        assert followers <= set(STATES)


def test_every_state_can_be_reached_and_left() -> None:
    seen: set[State] = {"stopped"}
    todo: list[State] = ["stopped"]
    while todo:
        for after in FOLLOWERS[todo.pop()]:
            if after not in seen:
                seen.add(after)
                todo.append(after)
    assert seen == set(STATES)
    assert all(FOLLOWERS.values())


def test_a_settled_process_is_not_alive_and_only_a_command_moves_it() -> None:
    assert not ALIVE & SETTLED
    for state in SETTLED - {"stopped"}:
        assert FOLLOWERS[state] == {"waiting", "stopped"}
    # Adoption is no command: a supervisor that takes a living child over begins with nothing else.
    assert FOLLOWERS["stopped"] == {"waiting", "starting"}


def test_a_process_that_is_being_stopped_only_becomes_stopped() -> None:
    assert FOLLOWERS["stopping"] == {"stopped"}


@pytest.mark.parametrize(
    ("before", "after"), [("stopped", "ready"), ("stopping", "stopping"), ("ready", "waiting")]
)
def test_a_change_that_the_table_does_not_have_is_a_mistake(before: State, after: State) -> None:
    with pytest.raises(ValueError, match=f"from {before} to {after}"):
        check(before, after)


def test_a_change_of_the_table_is_taken() -> None:
    for before, followers in FOLLOWERS.items():
        for after in followers:
            assert check(before, after) == after


def test_a_service_knows_a_rank_for_every_state_and_the_status_its_colour() -> None:
    assert set(WORST_FIRST) == set(STATES)
    assert set(STATES) - set(COLOURS) == {"stopped"}
