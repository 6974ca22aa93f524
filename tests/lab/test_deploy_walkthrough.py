"""The README's walk-through, typed: a lab, an instance, deploys, a host that dies in the midst, and back."""

from __future__ import annotations

import pytest
from deploy_trials import LONG, POLICY, Trial, attempt, reaches
from fleet_support import Site, users
from support import wait_for

pytestmark = pytest.mark.root


def test_from_a_lab_to_a_release_and_back(site: Site) -> None:
    said = site.ampzero("deploy", ".", "--setup")
    assert said.code == 0, said.err
    assert "next: ampzero deploy" in said.out
    assert {host["state"] for host in site.hosts().values()} == {"none"}

    first = site.deploy()
    assert "3 of 3 hosts of lab serve" in first.out
    assert site.served() == {"one"}
    assert "nothing to deploy" in site.deploy().out

    site.change("two")
    dry = site.deploy("--dry-run")
    assert "KB to send" in dry.out or "bytes to send" in dry.out, dry.out
    assert site.served() == {"one"}
    with users(site) as seen:
        site.deploy()
        assert wait_for(lambda: site.served() == {"two"})
    assert not seen.mixed("one", "two"), "a host served the old release while another served the new one"
    assert seen.kinds() <= {"one", "closed", "two"}

    trial, lost = Trial(site), site.lab.hosts[1]
    sequence = trial.sequence
    site.configure(policy=POLICY)
    site.change("three")
    with users(site) as seen, attempt(site) as going:
        assert wait_for(lambda: reaches(lost, sequence, "SWAPPED"), LONG, 0.001)
        lost.kill()
        assert going.end() == 3 and "--only-failed" in going.said, going.said
    assert not seen.mixed("two", "three")
    lost.boot()
    assert wait_for(lambda: site.served() == {"three"}, LONG), "it knows the decision, and finishes alone"
    trial.resume()

    done = site.ampzero("rollback", ".")
    assert done.code == 0, done.err
    assert site.served() == {"two"}
    listed = site.ampzero("releases", ".")
    words = [line.rpartition("  ")[2] for line in listed.out.splitlines()]
    assert words == ["done", "partly done", "done", "done"], listed.out
