from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.supervisor.policy import FIRST_PAUSE, JITTER, SCARCE_PAUSE, Decision, RestartPolicy
from lib.supervisor.spec import Restart


def middle() -> float:
    """No jitter."""
    return 0.5


def make(**settings: object) -> RestartPolicy:
    import msgspec

    return RestartPolicy(msgspec.convert(settings, Restart), middle)


@pytest.mark.parametrize(
    ("policy", "succeeded", "action"),
    [
        ("always", True, "restart"),
        ("always", False, "restart"),
        ("on-failure", True, "complete"),
        ("on-failure", False, "restart"),
        ("never", True, "complete"),
        ("never", False, "fail"),
    ],
)
def test_what_follows_an_end(policy: str, succeeded: bool, action: str) -> None:
    decision = make(policy=policy).decide(100.0, 5.0, succeeded, "exit code 1")
    assert decision.action == action
    assert decision.reason == "exit code 1"


def test_the_first_restart_is_at_once_and_the_pauses_double_up_to_the_greatest() -> None:
    policy = make(initial=0.0, max=1.0, give_up_times=100)
    pauses = [policy.decide(float(n), 0.0, False, "x").delay for n in range(7)]
    assert pauses == pytest.approx([0, FIRST_PAUSE, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_initial_is_the_first_pause_and_doubles() -> None:
    policy = make(initial=2.0, max=10.0)
    assert [policy.decide(float(n), 0.0, False, "x").delay for n in range(4)] == [2.0, 2.0, 4.0, 8.0]


def test_a_long_run_begins_the_pauses_anew() -> None:
    policy = make(reset_after=10.0)
    for n in range(4):
        policy.decide(float(n), 0.0, False, "x")
    assert policy.decide(20.0, 9.9, False, "x").delay > 0
    assert policy.decide(40.0, 10.0, False, "x").delay == 0


def test_it_gives_up_within_the_window_and_says_why() -> None:
    policy = make(give_up_times=3, give_up_within=60.0)
    assert [policy.decide(float(n), 0.0, False, "x").action for n in range(3)] == ["restart"] * 3
    assert policy.decide(3.0, 0.0, False, "exit code 9") == Decision(
        "give-up", 0.0, "restarted 3 times within 60 s; last: exit code 9"
    )


def test_the_window_slides() -> None:
    policy = make(give_up_times=3, give_up_within=60.0)
    for n in (0, 30, 59):
        assert policy.decide(float(n), 0.0, False, "x").action == "restart"
    assert policy.decide(60.1, 0.0, False, "x").action == "restart"  # the one at 0 has left
    assert policy.decide(60.2, 0.0, False, "x").action == "give-up"


def test_a_start_by_hand_forgets() -> None:
    policy = make(give_up_times=1)
    assert policy.decide(0.0, 0.0, False, "x").action == "restart"
    assert policy.decide(1.0, 0.0, False, "x").action == "give-up"
    policy.forget()
    assert policy.decide(2.0, 0.0, False, "x") == Decision("restart", 0.0, "x")


@given(
    initial=st.floats(0, 100),
    most=st.floats(0, 100),
    chance=st.floats(0, 1),
    steps=st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 1000), st.booleans()), max_size=50),
)
def test_a_pause_is_never_negative_nor_above_the_greatest_with_its_jitter(
    initial: float, most: float, chance: float, steps: list[tuple[float, float, bool]]
) -> None:
    policy = RestartPolicy(Restart(initial=initial, max=most, give_up_times=10), lambda: chance)
    now = 0.0
    for passed, ran_for, succeeded in steps:
        now += passed
        decision = policy.decide(now, ran_for, succeeded, "x")
        assert 0 <= decision.delay <= most * (1 + JITTER) + 1e-9
        assert decision.action in ("restart", "give-up")


@given(times=st.integers(1, 20), gaps=st.lists(st.floats(0, 30), max_size=60))
def test_never_more_restarts_than_allowed_in_any_window(times: int, gaps: list[float]) -> None:
    policy = RestartPolicy(Restart(give_up_times=times, give_up_within=60.0), middle)
    now, restarts = 0.0, []
    for gap in gaps:
        now += gap
        if policy.decide(now, 0.0, False, "x").action == "restart":
            restarts.append(now)
    for index, begin in enumerate(restarts):
        assert len([time for time in restarts[index:] if time - begin <= 60.0]) <= times


def test_a_full_machine_is_waited_out_with_growing_pauses_and_without_an_end() -> None:
    policy = make(give_up_times=2, max=30.0)
    pauses = [policy.postpone() for _ in range(100)]
    assert pauses[:3] == [0.0, FIRST_PAUSE, 2 * FIRST_PAUSE]
    assert pauses == sorted(pauses)
    assert pauses[-1] == SCARCE_PAUSE
    assert policy.decide(0.0, 0.0, False, "x").action == "restart"
