"""The plan of a deploy: what a host lacks, in which order they switch, what stands in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.config import Canary
from deploy.facts import Facts, Live, facts
from deploy.plan import Send, majority, next_epoch, next_sequence, plan_host, waves
from deploy.problems import ROOM, no_room, problem
from deploy.release import Tree
from lib.errors import RefusedError

TREES = {kind: Tree(kind, f"{kind}-new", f"{kind}-sha", 100, "d", Path()) for kind in ("ampify", "instance")}


def host(**given: Any) -> Facts:
    base = {"platform": "p", "python": "3.11", "user": "u", "clock": 0.0, "disk_free": 10**9,
            "root_exists": True, "ours": True, "instance": "demo", "environment": "prod",
            "tools": {"nginx": "1"}}  # fmt: skip
    return facts(base | given, "web1")


def test_a_new_host_is_sent_everything_whole() -> None:
    plan = plan_host("web1", host(), "new", TREES, frozenset())
    assert plan.sends == (Send("ampify", "ampify-sha", "", 100), Send("instance", "instance-sha", "", 100))
    assert plan.room == 600


def test_only_the_tree_that_differs_travels_and_as_a_patch_of_what_the_host_has() -> None:
    live = {"release": "old", "sequence": 1, "ampify": "ampify-new", "instance": "instance-old",
            "tars": {"instance": "old-sha"}}  # fmt: skip
    known = host(current=live, trees=["ampify-new"], tars=["old-sha"], zstd=True, state="open")
    assert plan_host("web1", known, "new", TREES, frozenset({"old-sha"})).sends == (
        Send("instance", "instance-sha", "old-sha", 100),
    )
    whole = (Send("instance", "instance-sha", "", 100),)
    assert plan_host("web1", known, "new", TREES, frozenset()).sends == whole, "the old tar is not here"
    has: dict[str, Any] = {"current": live, "trees": ["ampify-new"], "tars": ["old-sha"], "zstd": True}
    for lacks in (has | {"zstd": False}, has | {"tars": []}):
        other = host(**lacks)
        assert plan_host("web1", other, "new", TREES, frozenset({"old-sha"})).sends == whole


def test_a_host_that_serves_the_release_needs_nothing() -> None:
    live = {"release": "new", "sequence": 1, "ampify": "ampify-new", "instance": "instance-new"}
    trees = ["ampify-new", "instance-new"]
    assert plan_host(
        "web1", host(current=live, trees=trees, state="open"), "new", TREES, frozenset()
    ).up_to_date
    known = host(current=live | {"secrets": "secrets-1"}, trees=trees, state="open")
    assert plan_host("web1", known, "new", TREES, frozenset(), "secrets-1").up_to_date
    assert not plan_host("web1", known, "new", TREES, frozenset(), "secrets-2").up_to_date, "renewed secrets"
    for state in ("closed", "stopped"):
        closed = host(current=live, trees=trees, state=state)
        assert not plan_host("web1", closed, "new", TREES, frozenset()).up_to_date


@given(st.integers(1, 60), st.integers(1, 10), st.integers(0, 100))
def test_every_host_is_in_one_wave_and_in_order(count: int, first: int, percent: int) -> None:
    names = [f"h{number}" for number in range(count)]
    found = waves(names, Canary(hosts=first, percent=percent))
    assert [name for wave in found for name in wave] == names
    assert all(found)
    if count > first:
        assert len(found[0]) == first


def test_numbers_rise_above_all_that_any_host_has_seen() -> None:
    pending = {"state": "staged", "epoch": 9, "sequence": 7, "release": "x"}
    known = [host(promised=3, sequence=5), host(promised=1, sequence=2, pending=pending)]
    assert (next_epoch(known), next_sequence(known)) == (10, 8)
    assert (next_epoch([]), next_sequence([])) == (1, 1)
    assert [majority(number) for number in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]


def judged(skew: float = 0.0, **given: Any) -> Any:
    return problem("web1", host(**given), instance="demo", environment="prod", skew=skew, tools=["nginx"],
                   typed="ampzero deploy demo --setup", root="/opt/ampzero")  # fmt: skip


def test_nothing_is_in_the_way_of_a_host_that_is_set_up() -> None:
    assert judged() is None


@pytest.mark.parametrize(
    ("given", "says", "code"),
    [
        ({"root_exists": False}, "web1: the host is not set up", 5),
        ({"ours": False}, "/opt/ampzero is there and is not ours", 7),
        ({"instance": "other"}, "belongs to other (prod)", 7),
        ({"skew": 3600.0}, "its clock is 60 minutes ahead of ours", 11),
        ({"skew": -10000.0}, "its clock is 3 hours behind ours", 11),
        ({"tools": {}}, "nginx is missing", 5),
    ],
)
def test_what_stands_in_the_way_is_said(given: dict[str, Any], says: str, code: int) -> None:
    found = judged(**given)
    assert says in found.message
    assert found.exit_code == code
    assert found.hint


def test_a_full_disk_is_seen_before_anything_is_sent() -> None:
    assert no_room("web1", host(disk_free=1000 + ROOM), 1000) is None
    found = no_room("web1", host(disk_free=999 + ROOM), 1000)
    assert found and "are needed" in found.message and found.exit_code == 8


def test_an_answer_that_is_none_is_refused() -> None:
    with pytest.raises(RefusedError, match="makes no sense"):
        facts({"platform": 3}, "web1")
    assert Live("r", 1, "a", "i").tars == {}
