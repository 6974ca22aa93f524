"""The order of a deploy and its policies, on hosts in memory: what is true whichever host fails where."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from deploy_support import Agent, Quiet, Site
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.config import Canary, Hooks, PolicyConfig, ReleaseConfig, Ssh
from deploy.deploying import Deploying, Outcome, Release
from deploy.environment import Environment, Host
from deploy.fleet import Fleet
from deploy.manifest import Signed, Subject
from deploy.phases.decide import UndecidedError
from lib.errors import AmpzeroError

OPERATIONS = [
    "promise",
    "stage",
    "unpack",
    "hook",
    "prepare",
    "decide",
    "close",
    "swap",
    "start",
    "open",
    "finish",
]


def release(name: str, sequence: int, *, compatible: bool = False) -> Release:
    text = json.dumps({
        "release": name, "sequence": sequence, "compatible": compatible,
        "trees": {"p": {"instance": {"name": f"instance-{name}"}}},
    })  # fmt: skip
    return Release(Subject("demo", "test", name, sequence), "c0ffee", Signed(text, ""), {}, compatible)


def environment(hosts: int, min_ready: int, canary: Canary | None = None) -> Environment:
    return Environment(
        name="test", hosts=tuple(Host(f"h{number}", f"h{number}") for number in range(hosts)), canary=canary,
        policy=PolicyConfig(), min_ready=min_ready, release=ReleaseConfig(), hooks=Hooks(), ssh=Ssh(),
        secrets={}, root="/opt/ampzero", file=Path("deployment.yaml"),
    )  # fmt: skip


def deploy(site: Site, env: Environment, *, compatible: bool = False) -> Outcome:
    with Fleet(env.hosts, site.open, Quiet()) as fleet:
        fleet.connect()
        work = Deploying(
            fleet, env, release("new", 2, compatible=compatible), [host.name for host in env.hosts],
            coordinator="c1", sign=lambda raw: "", progress=Quiet(), wait=lambda seconds: None,
            previous=lambda: release("old", 3, compatible=compatible),
        )  # fmt: skip
        return work.run()


def site_of(env: Environment) -> Site:
    site = Site()
    for host in env.hosts:
        site.add(host.name)
    return site


def test_a_deploy_without_failures_serves_the_new_release_everywhere() -> None:
    env = environment(3, 3)
    site = site_of(env)
    outcome = deploy(site, env)
    assert sorted(outcome.serving) == ["h0", "h1", "h2"]
    assert outcome.word == "done"
    assert {agent.serves for agent in site.hosts.values()} == {"new"}
    assert all(agent.records[-1]["outcome"] == "done" for agent in site.hosts.values())


def test_nobody_opens_before_everybody_has_closed() -> None:
    env = environment(5, 5)
    site = site_of(env)
    deploy(site, env)
    last_close = max(index for index, (_, what) in enumerate(site.events) if what == "close")
    first_open = min(index for index, (_, what) in enumerate(site.events) if what == "open new")
    assert last_close < first_open


def test_a_compatible_release_closes_nobody() -> None:
    env = environment(3, 3)
    site = site_of(env)
    assert len(deploy(site, env, compatible=True).serving) == 3
    assert not [event for event in site.events if event[1] == "close"]


def test_the_canary_is_first_and_its_failure_takes_only_itself_back() -> None:
    env = environment(4, 4, Canary(hosts=1, bake=0))
    site = site_of(env)
    site.hosts["h0"].fails = lambda op: "refuses" if op == "start" and site.hosts["h0"].sequence == 2 else ""
    outcome = deploy(site, env)
    assert outcome.rolled_back_to == "old"
    assert {agent.serves for agent in site.hosts.values()} == {"old"}
    assert not [event for event in site.events if event[1] == "open new"]


def test_a_host_that_fails_to_stage_where_all_are_wanted_changes_nothing() -> None:
    env = environment(3, 3)
    site = site_of(env)
    site.hosts["h1"].fails = lambda op: "refuses" if op == "unpack" else ""
    with pytest.raises(AmpzeroError, match="nothing was switched") as caught:
        deploy(site, env)
    assert caught.value.exit_code == 6
    assert {agent.serves for agent in site.hosts.values()} == {"old"}
    assert all(agent.pending is None for agent in site.hosts.values())


def test_a_host_below_the_threshold_is_left_out_and_named() -> None:
    env = environment(4, 3)
    site = site_of(env)
    site.hosts["h2"].fails = lambda op: "refuses" if op == "start" else ""
    outcome = deploy(site, env)
    assert list(outcome.failed) == ["h2"]
    assert outcome.word == "partly done"
    assert site.hosts["h2"].state == "closed"
    assert [site.hosts[name].serves for name in ("h0", "h1", "h3")] == ["new"] * 3


def test_too_many_unhealthy_hosts_bring_all_back_without_sending_anything() -> None:
    env = environment(4, 3)
    site = site_of(env)
    for name in ("h1", "h2"):
        site.hosts[name].fails = make_failure(site.hosts[name], "start", "refuses")
    outcome = deploy(site, env)
    assert outcome.rolled_back_to == "old"
    assert {agent.serves for agent in site.hosts.values()} == {"old"}
    assert site.hosts["h0"].records[-1]["outcome"] == "rolled back"


def test_a_host_that_dies_after_the_decision_is_left_out_and_the_others_finish() -> None:
    for op in ("close", "swap", "start"):
        env = environment(3, 3)
        site = site_of(env)
        site.hosts["h1"].fails = make_failure(site.hosts["h1"], op, "dies")
        outcome = deploy(site, env)
        assert sorted(outcome.serving) == ["h0", "h2"], op
        assert outcome.word == "partly done" and not outcome.rolled_back_to
        assert list(outcome.failed) == ["h1"]


def test_a_host_that_is_lost_with_the_first_word_of_the_decision_gives_it_up_where_all_are_wanted() -> None:
    env = environment(3, 3)
    site = site_of(env)
    site.hosts["h1"].fails = lambda op: "dies" if op == "decide" else ""
    with pytest.raises(AmpzeroError, match="nothing was switched"):
        deploy(site, env)
    assert not site.events
    assert site.hosts["h0"].pending is None and site.hosts["h2"].pending is None


def test_a_decision_that_only_a_minority_stored_lets_nobody_act() -> None:
    env = environment(5, 1)
    site = site_of(env)
    for name in ("h1", "h2", "h3"):
        site.hosts[name].fails = lambda op: "dies" if op == "decide" else ""
    with pytest.raises(UndecidedError):
        deploy(site, env)
    assert all(agent.serves == "old" for agent in site.hosts.values() if not agent.dead)
    assert not site.events


def test_a_second_coordinator_with_a_lower_epoch_is_refused() -> None:
    env = environment(3, 3)
    site = site_of(env)
    with Fleet(env.hosts, site.open, Quiet()) as fleet:
        fleet.connect()
        for agent in site.hosts.values():
            agent.promised = 9  # somebody else was here in between
        work = Deploying(
            fleet, env, release("new", 2), ["h0", "h1", "h2"], coordinator="c2", sign=lambda raw: "",
            progress=Quiet(), previous=lambda: None,
        )  # fmt: skip
        with pytest.raises(AmpzeroError) as caught:
            work.run()
    assert caught.value.exit_code == 11
    assert {agent.serves for agent in site.hosts.values()} == {"old"}


def test_a_host_that_is_ready_early_hears_of_us_while_it_waits_for_a_slow_one() -> None:
    env = dataclasses.replace(environment(3, 3), policy=PolicyConfig(orphan_after=0.3))
    site = site_of(env)
    heard = threading.Event()
    slow = site.hosts["h1"]
    slow.fails = lambda op: "" if op != "start" or heard.wait(60) else "dies"
    site.hosts["h0"].on_ping = heard.set
    assert len(deploy(site, env).serving) == 3
    assert heard.is_set()


def test_a_host_that_was_lost_from_the_beginning_is_told_and_no_canary() -> None:
    env = environment(4, 3, Canary(hosts=1, bake=0))
    site = site_of(env)
    site.hosts["h0"].fails = lambda op: "dies"
    outcome = deploy(site, env)
    assert sorted(outcome.serving) == ["h1", "h2", "h3"]
    assert list(outcome.failed) == ["h0"]
    assert outcome.word == "partly done"
    assert next(name for name, what in site.events if what == "open new") == "h1"


def test_a_host_that_was_lost_from_the_beginning_counts_among_those_that_may_fail() -> None:
    env = environment(4, 3)
    site = site_of(env)
    site.hosts["h0"].fails = lambda op: "dies"
    site.hosts["h2"].fails = lambda op: "refuses" if op == "stage" else ""
    with pytest.raises(AmpzeroError, match="nothing was switched"):
        deploy(site, env)
    assert {agent.serves for agent in site.hosts.values() if not agent.dead} == {"old"}


def test_a_host_that_was_left_out_takes_no_part_in_going_back_and_is_not_its_reason() -> None:
    env = environment(4, 3)
    site = site_of(env)
    told: list[str] = []

    def refuse(op: str) -> str:
        told.append(op)
        return "refuses" if op == "hello" else ""

    site.hosts["h0"].fails = refuse
    site.hosts["h2"].fails = lambda op: "refuses" if op == "start" and site.hosts["h2"].sequence == 2 else ""
    outcome = deploy(site, env)
    assert outcome.rolled_back_to == "old"
    assert outcome.reason == "h2: start failed"
    assert set(outcome.failed) == {"h0", "h2"}
    assert told == ["connect", "hello", "record"]  # what became of it is noted wherever it can be


FAILURE = st.tuples(st.integers(0, 4), st.sampled_from(OPERATIONS), st.sampled_from(["dies", "refuses"]))


@settings(max_examples=200)
@given(st.lists(FAILURE, max_size=4), st.integers(1, 5), st.booleans())
def test_whatever_fails_no_two_hosts_serve_different_releases_behind_a_barrier(
    failures: list[tuple[int, str, str]], min_ready: int, canary: bool
) -> None:
    env = environment(5, min_ready, None)
    site = site_of(env)
    for number, op, how in failures:
        agent = site.hosts[f"h{number}"]
        agent.fails = make_failure(agent, op, how)
    try:
        outcome: Outcome | None = deploy(site, env)
    except AmpzeroError:
        outcome = None
    living = [agent for agent in site.hosts.values() if not agent.dead]
    served = {agent.serves for agent in living if agent.serves}
    if outcome is None:
        assert served <= {"old"}
    else:
        knew = {agent.serves for agent in living if agent.serves and agent.name not in outcome.failed}
        assert len(knew) <= 1, (outcome, site.events)
        assert set(outcome.serving) <= {agent.name for agent in site.hosts.values() if agent.serves == "new"}


def make_failure(agent: Agent, wanted: str, how: str) -> Any:
    return lambda op: how if op == wanted and agent.sequence <= 2 else ""
