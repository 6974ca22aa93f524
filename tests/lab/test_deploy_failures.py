"""The failure table of docs/deploy.md: each row is caused for real, while users look at every host.

`make chaos-deploy` draws lots between all moments; here is one of each kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from deploy_trials import (
    LONG,
    POLICY,
    Attempt,
    Trial,
    attempt,
    elsewhere,
    end_agent,
    lose_coordinator,
    lose_host,
    reaches,
    state,
)
from fleet_support import users
from support import wait_for

from deploy.lab import Host

pytestmark = pytest.mark.root


def slow(*values: Any) -> Any:
    """A case for `make slow`: the tests have a shorter version of it."""
    return pytest.param(*values, marks=pytest.mark.slow)


def at_state(host: Host, wanted: str) -> Callable[[Attempt, int], None]:
    """A moment for lose_coordinator: the host's journal says `wanted`."""

    def moment(going: Attempt, sequence: int) -> None:
        assert wait_for(
            lambda: reaches(host, sequence, wanted) or going.process.poll() is not None, LONG, 0.001
        )

    return moment


@pytest.mark.parametrize("line", [slow("building"), "staging", slow("preparing")])
def test_a_coordinator_killed_before_the_decision_leaves_the_old_release(trial: Trial, line: str) -> None:
    old = trial.version
    assert lose_coordinator(trial, lambda going, _: going.wait_line(line)) == old


@pytest.mark.parametrize("wanted", [slow("DURABLE"), slow("CLOSED"), "STARTING", slow("OPENING")])
def test_a_coordinator_killed_after_the_decision_is_finished_from_another_machine(
    trial: Trial, wanted: str
) -> None:
    old = trial.version
    served = lose_coordinator(trial, at_state(trial.site.lab.hosts[0], wanted))
    assert served != old or wanted == "DURABLE", "on a minority it may still be given up"


@pytest.mark.slow
def test_without_its_coordinator_every_host_finishes_alone(trial: Trial) -> None:
    old, sequence = trial.version, trial.sequence
    new = trial.next()
    with trial.watched(old, new), attempt(trial.site) as going:
        assert wait_for(
            lambda: all(reaches(host, sequence, "DURABLE") for host in trial.site.lab.hosts), LONG, 0.001
        )
        going.kill()
        assert trial.settle(new) == new
    assert wait_for(trial.ended, LONG, 0.1), trial.describe()
    assert trial.site.ampzero("deploy", ".", "--resume").out.strip() == "no deploy is pending"


@pytest.mark.parametrize(
    ("when", "how"), [slow("STAGED", Host.kill), slow("STAGED", Host.cut), slow("PREPARED", end_agent)]
)
def test_a_host_lost_before_the_decision_keeps_everybody_on_the_old_release(
    trial: Trial, when: str, how: Callable[[Host], None]
) -> None:
    _, going = lose_host(trial, trial.site.lab.hosts[1], when, how)
    assert "host-2" in going.said or going.end() == 0, "the decision came before the loss"


@pytest.mark.parametrize(
    ("when", "how"), [slow("CLOSING", Host.kill), slow("SWAPPED", end_agent), slow("CLOSED", Host.cut)]
)
def test_a_host_lost_after_the_decision_never_serves_the_old_release_again(
    trial: Trial, when: str, how: Callable[[Host], None]
) -> None:
    old = trial.version
    served, going = lose_host(trial, trial.site.lab.hosts[2], when, how)
    assert served != old
    assert going.end() in (0, 3), going.said


@pytest.mark.slow
def test_of_two_coordinators_at_once_one_wins_and_the_other_is_refused(trial: Trial) -> None:
    other = elsewhere(trial.site)
    mine = trial.next()
    theirs = f"{mine}-other"
    other.change(theirs)
    with attempt(trial.site) as one, attempt(other) as two:
        codes = (one.end(), two.end())
    assert set(codes) <= {0, 1, 11}, f"{one.said}\n{two.said}"
    trial.resume()
    served = trial.settle(trial.version, mine, theirs)
    if 0 in codes:
        assert served == (mine if codes[1] else theirs if codes[0] else served)


@pytest.mark.slow
def test_a_host_that_was_away_for_two_releases_is_brought_to_the_newest(trial: Trial) -> None:
    away = trial.site.lab.hosts[0]
    trial.site.configure(policy={**POLICY, "min_ready": "66%"})
    trial.deploy()
    old = trial.version
    away.kill()
    for _ in range(2):
        trial.version = trial.next()
        done = trial.site.deploy(code=3)
        assert "host-1" in done.err
    away.boot()
    assert wait_for(lambda: trial.site.serves(away) == old, LONG, 0.2), "it knows of nothing newer"
    done = trial.site.ampzero("deploy", ".", "--only-failed")
    assert done.code == 0, done.err
    assert trial.settle(trial.version)
    trial.site.configure(policy=POLICY)


@pytest.mark.slow
def test_stay_closed_hosts_wait_for_a_resume(trial: Trial) -> None:
    trial.site.configure(policy={**POLICY, "on_orphan": "stay-closed"})
    sequence = trial.sequence
    old, new = trial.version, trial.next()
    hosts = trial.site.lab.hosts
    with trial.watched(old, new), attempt(trial.site) as going:
        assert wait_for(lambda: all(reaches(host, sequence, "DURABLE") for host in hosts), LONG, 0.001)
        going.kill()
        assert wait_for(lambda: all(state(host)[1] == "HEALTHY" for host in hosts), LONG, 0.1), (
            trial.describe()
        )
        assert trial.site.served() == {"closed"}
        trial.resume(elsewhere(trial.site))
        trial.settle(new)
    trial.site.configure(policy=POLICY)


def test_a_compatible_release_fails_no_request(trial: Trial) -> None:
    site, old = trial.site, trial.version
    site.configure(policy=POLICY, release={"compatible": True})
    new = trial.next()
    with users(site, pause=0.01) as seen:
        site.deploy()
        trial.settle(new)
    assert seen.kinds() == {old, new}
    site.configure(policy=POLICY)


@pytest.mark.slow
def test_a_host_that_is_down_is_named_and_nothing_changes(trial: Trial) -> None:
    site, old = trial.site, trial.version
    journals = [state(host) for host in site.lab.hosts]
    site.lab.hosts[1].kill()
    trial.next()
    done = site.deploy(code=12)
    assert "host-2" in done.err
    assert site.serves(site.lab.hosts[0]) == old
    site.lab.hosts[1].boot()
    trial.settle(old)
    assert [state(host) for host in site.lab.hosts] == journals


@pytest.mark.slow
def test_a_release_that_never_becomes_ready_is_rolled_back_and_a_mended_one_follows(trial: Trial) -> None:
    trial.site.configure(policy={**POLICY, "health_deadline": "5s"})
    trial.site.commit("ampnode/services/version.py", "import os\nos._exit(3)\n")
    done = trial.site.deploy(code=1)
    assert "rolled back" in done.err, done.err
    trial.settle(trial.version)
    trial.site.configure(policy=POLICY)
    trial.deploy()
    listed = json.loads(trial.site.ampzero("releases", ".", "--json").out)
    assert [entry["outcome"] for entry in listed[:2]] == ["done", "rolled back"]
    assert listed[1]["reason"]
