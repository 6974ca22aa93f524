"""A host without its coordinator: boots, crashes and power cuts at any point of a deploy."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from agent_support import ROOT, Site, start_keeper
from support import wait_for

from deploy.agent import durable, live
from deploy.agent.errors import AgentError
from deploy.agent.instance import InstanceControl
from deploy.agent.journal import ORDER, Journal, write_line
from deploy.agent.keeper import Keeper
from deploy.agent.rollforward import MARGIN, RollForward
from deploy.agent.switch import Switch

STEPS = ("close", "swap", "start", "open", "finish")
DRIVER = """
import base64, json, sys
from pathlib import Path
from deploy.agent.layout import Layout
from deploy.agent.operations import OPERATIONS
for op, fields, body in json.loads(Path(sys.argv[2]).read_text()):
    OPERATIONS[op](Layout(Path(sys.argv[1])), fields, base64.b64decode(body), lambda event: None)
    print(op, flush=True)
"""


class Clock:
    """A clock that goes when it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Kept:
    """A host with its keeper in this process, whose clock a test moves."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.clock = Clock()
        self.control = InstanceControl(site.layout, "demo")
        self.restart()

    def restart(self) -> None:
        """A new keeper, as after a boot or a kill of it."""
        self.control.close()
        self.control = control = InstanceControl(self.site.layout, "demo")
        self.keeper = Keeper(self.site.layout, control, RollForward(self.site.layout, control, self.clock))

    def boot(self) -> None:
        """A power cut, and the machine comes back."""
        self.site.power_cut()
        self.restart()
        self.look()

    def look(self, after: float = 0.0) -> None:
        self.clock.now += after
        self.keeper.look()

    def until_quiet(self) -> None:
        """Look again and again, as time goes on."""
        for _ in range(8):
            self.look(10.0)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path)
    one.set_up()
    yield one
    one.kill()


@pytest.fixture
def kept(site: Site) -> Iterator[Kept]:
    kept = Kept(site)
    kept.look()  # the boot before the test is seen to
    yield kept
    kept.control.close()


def state(site: Site) -> str:
    last = Journal(site.layout.journal).last()
    return last.state if last else ""


def states(site: Site) -> list[str]:
    return [each.state for each in Journal(site.layout.journal).entries()]


def test_a_host_that_was_decided_finishes_by_itself_when_nobody_is_heard(site: Site, kept: Kept) -> None:
    site.deploy(site.release({"app.py": "1"}))
    manifest = site.release({"app.py": "2"})
    site.decided(manifest)
    kept.look()
    kept.look(0.2)
    assert state(site) == "DURABLE", "orphan_after is 0.3 s"
    kept.look(0.2)
    assert state(site) == "HEALTHY" and site.is_closed
    assert site.serving == manifest["release"]
    kept.look(MARGIN)
    assert state(site) == "HEALTHY", "another host may serve the old release until now"
    kept.look(1.0)
    assert state(site) == "FINISHED" and not site.is_closed
    assert {each.by for each in Journal(site.layout.journal).entries()[-8:]} == {"keeper"}


def test_a_coordinator_that_is_heard_is_not_overtaken(site: Site, kept: Kept) -> None:
    site.decided(site.release())
    for number in range(5):
        site.layout.heard.write_text("")
        stamp = time.time() + number
        os.utime(site.layout.heard, (stamp, stamp))
        kept.look(0.25)
    assert state(site) == "DURABLE"


def test_a_host_that_its_coordinator_had_switch_opens_at_once(site: Site, kept: Kept) -> None:
    site.decided(site.release())
    site("close")
    site("swap")
    kept.look()
    kept.look(0.4)
    assert state(site) == "FINISHED" and not site.is_closed


def test_stay_closed_means_that_nobody_opens_but_a_coordinator(site: Site, kept: Kept) -> None:
    site.decided(site.release(policy={"on_orphan": "stay-closed"}))
    kept.until_quiet()
    assert state(site) == "HEALTHY" and site.is_closed
    site("open")
    site("finish")
    assert not site.is_closed


def test_a_compatible_release_is_finished_without_closing(site: Site, kept: Kept) -> None:
    site.deploy(site.release({"app.py": "1"}))
    manifest = site.release({"app.py": "2"}, compatible=True)
    site.decided(manifest)
    kept.look()
    kept.look(0.4)
    assert state(site) == "FINISHED" and site.serving == manifest["release"] and not site.is_closed


@pytest.mark.parametrize("reached", ["PREPARED", "COMMITTED"])
def test_a_host_that_does_not_know_whether_it_stands_is_closed_by_a_boot_or_by_being_alone_with_a_decision(
    site: Site, kept: Kept, reached: str
) -> None:
    old = site.release({"app.py": "1"})
    site.deploy(old)
    new = site.release({"app.py": "2"})
    site.promise()
    site.stage(new)
    site("prepare")
    if reached == "COMMITTED":
        site.decide(new, durable=False)
    kept.until_quiet()
    assert site.serving == old["release"]
    # Where it was decided, others may have been told by now that it stands, and serve the new one.
    assert site.is_closed == (reached == "COMMITTED")
    kept.boot()
    assert state(site) == reached
    assert site.serving == old["release"] and site.is_closed
    assert "not decided" in site("status")["why"]
    site.promise("another")
    site.decide(new, "abort")
    assert not site.is_closed and site.serving == old["release"]


def test_a_commit_after_a_boot_goes_on_as_ever(site: Site, kept: Kept) -> None:
    site.deploy(site.release({"app.py": "1"}))
    new = site.release({"app.py": "2"}, compatible=True)
    site.promise()
    site.stage(new)
    site("prepare")
    kept.boot()
    assert site.is_closed
    site.decide(new)
    for op in ("swap", "start", "finish"):
        site(op)
    assert not site.is_closed and site.serving == new["release"]


def test_what_was_only_staged_is_given_up_at_a_boot(site: Site, kept: Kept) -> None:
    old = site.release({"app.py": "1"})
    site.deploy(old)
    site.promise()
    site.stage(site.release({"app.py": "2"}))
    kept.boot()
    assert state(site) == "ABORTED"
    assert site.serving == old["release"] and not site.is_closed


@pytest.mark.parametrize("done", range(len(STEPS)))
def test_a_power_cut_after_the_decision_never_brings_the_old_release_back(
    site: Site, kept: Kept, done: int
) -> None:
    site.deploy(site.release({"app.py": "1"}))
    new = site.release({"app.py": "2"})
    site.decided(new)
    for op in STEPS[:done]:
        site(op)
    kept.boot()
    assert site.serving == new["release"]
    kept.until_quiet()
    assert state(site) == "FINISHED" and not site.is_closed
    assert site.serving == new["release"]


def test_an_unhealthy_release_stays_closed_after_a_boot_and_is_tried_again(site: Site, kept: Kept) -> None:
    site.deploy(site.release({"app.py": "1"}))
    site.decided(site.release({"broken": ""}))
    kept.boot()
    assert state(site) == "STARTING" and site.is_closed
    assert "web does not become ready" in site("status")["why"]
    (site.layout.link("instance") / "broken").unlink()
    kept.keeper._again = 0.0
    kept.until_quiet()
    assert state(site) == "FINISHED" and not site.is_closed


def test_a_supervisor_that_was_killed_is_started_again_but_not_one_that_was_stopped(
    site: Site, kept: Kept
) -> None:
    manifest = site.release()
    site.deploy(manifest)
    site.kill()
    kept.look()
    assert site.serving == manifest["release"] and not site.is_closed
    with closing(InstanceControl(site.layout, "demo")) as control:
        control.stop()
    kept.look()
    assert site("hello")["state"] == "stopped"
    kept.boot()
    assert site.serving == manifest["release"]


def test_a_keeper_does_nothing_while_another_works(site: Site, kept: Kept) -> None:
    site.decided(site.release())
    with durable.locked(site.layout.lock, 0):
        kept.until_quiet()
        assert state(site) == "DURABLE"
    kept.until_quiet()
    assert state(site) == "FINISHED"


def test_a_host_that_comes_back_after_two_releases_takes_the_newest(site: Site, kept: Kept) -> None:
    site.deploy(site.release({"app.py": "1"}))
    second, third = site.release({"app.py": "2"}), site.release({"app.py": "3"})
    site.decided(second)
    site("close")
    site.power_cut()  # and it stays away while the others get `third`
    site.epoch += 3
    kept.restart()
    kept.look()
    assert site.serving == second["release"] and site.is_closed
    site.deploy(third)
    assert site.serving == third["release"] and not site.is_closed
    kept.until_quiet()
    assert state(site) == "FINISHED"


class PowerCutError(Exception):
    """The machine is gone."""


def cut_journal(path: Path, at: int, part: float) -> Journal:
    """A journal of which the `at`-th write is torn, and is the last that happens."""
    left = [at]

    def write(path: Path, offset: int, line: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            write_line(path, offset, line[: int(part * len(line))])
            raise PowerCutError
        write_line(path, offset, line)

    return Journal(path, write)


@pytest.mark.parametrize(("at", "part"), [(at, 0.5 * (at % 2)) for at in range(len(ORDER) - 4)])
def test_a_power_cut_at_each_write_of_the_journal_is_rolled_forward(
    site: Site, kept: Kept, at: int, part: float
) -> None:
    site.deploy(site.release({"app.py": "1"}))
    new = site.release({"app.py": "2"})
    site.decided(new)
    with closing(InstanceControl(site.layout, "demo")) as control:
        switch = Switch(site.layout, control, journal=cut_journal(site.layout.journal, at, part))
        with pytest.raises(PowerCutError):
            for op in STEPS:
                getattr(switch, op)()
    kept.boot()
    assert site.serving == new["release"]
    kept.until_quiet()
    assert state(site) == "FINISHED" and not site.is_closed
    assert site.serving == new["release"]
    whole(site, new)


def whole(site: Site, manifest: dict[str, Any]) -> None:
    """What must hold once `manifest` is live, whatever happened before."""
    now = live.current(site.layout)
    assert now and now.healthy and now.release == manifest["release"]
    trees = next(iter(manifest["trees"].values()))
    for kind, tree in trees.items():
        assert site.layout.link(kind).readlink() == Path(tree["name"])
    events = [json.loads(line) for line in site.layout.audit_log.read_text().splitlines()]
    done = [(each["event"], each["sequence"]) for each in events if "sequence" in each]
    assert len(done) == len(set(done)), "one line a deploy"
    assert site("audit")["lines"] == len(events)
    last = states(site)[states(site).index("STAGED") :]
    assert last[-1] == "FINISHED"
    assert not [path for path in site.layout.dist.iterdir() if path.name.startswith((".new-", ".old-"))]


@pytest.mark.parametrize("seed", range(int(os.environ.get("AGENT_KILLS", "3"))))
def test_an_agent_killed_at_any_time_is_taken_up_again_by_a_coordinator(
    site: Site, kept: Kept, tmp_path: Path, seed: int
) -> None:
    """SIGKILL to a process that carries a deploy out, again and again, until one gets to its end."""
    chance = random.Random(seed)
    site.deploy(site.release({"app.py": "1"}))
    new = site.release({f"lib/{number}.py": str(number) for number in range(50)})
    requests = tmp_path / "requests.json"
    requests.write_text(json.dumps(requests_of(site, new)))
    argv = [sys.executable, "-c", DRIVER, str(site.layout.root), str(requests)]
    for turn in range(30):
        process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            _, errors = process.communicate(timeout=60 if turn > 20 else chance.uniform(0.05, 1.5))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            continue
        assert process.returncode == 0, errors
        break
    else:
        pytest.fail("no turn came to an end")
    assert site.serving == new["release"] and not site.is_closed
    site("clean")
    whole(site, new)


def requests_of(site: Site, manifest: dict[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    """A whole deploy as what a coordinator asks."""
    import base64

    site.epoch += 1
    epoch = {"epoch": site.epoch}
    text, signature = site.sign(manifest)
    said = {
        "format": "ampzero/decision/v1", "instance": "demo", "environment": "test",
        "release": manifest["release"], "sequence": manifest["sequence"], "epoch": site.epoch,
        "decision": "commit", "hosts": [site.name], "issued": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    decision, proof = site.sign(said)
    puts = [
        ("put", {"sha256": sha256, "offset": 0, "size": len(site.blobs[sha256]), **epoch},
         base64.b64encode(site.blobs[sha256]).decode())
        for sha256 in manifest["blobs"]
    ]  # fmt: skip
    return [
        ("promise", {"coordinator": "c", **epoch}, ""),
        ("stage", {"manifest": text, "signature": signature, **epoch}, ""),
        *puts,
        ("unpack", epoch, ""),
        ("prepare", epoch, ""),
        ("decide", {"decision": decision, "signature": proof, "durable": False}, ""),
        ("decide", {"decision": decision, "signature": proof, "durable": True}, ""),
        *((op, epoch, "") for op in STEPS),
    ]


def test_the_keeper_is_a_process_that_starts_restarts_and_leaves_the_instance_alone(site: Site) -> None:
    manifest = site.release()
    site.deploy(manifest)
    site.power_cut()
    keeper = start_keeper(site)
    try:
        assert wait_for(lambda: site.pid() and site.runs(site.pid())), log(site)
        assert site.serving == manifest["release"]
        second = start_keeper(site)
        assert second.wait(60) == 0, "there is one keeper"
        pid = site.pid()
        keeper.send_signal(signal.SIGTERM)
        assert keeper.wait(60) == 0
        assert site.runs(pid)
        assert not durable.is_held(site.layout.keeper_lock)
        assert "keeper ends" in log(site)
    finally:
        keeper.kill()
        keeper.wait()


@pytest.mark.slow
def test_the_keeper_goes_over_to_a_new_agent(site: Site) -> None:
    keeper = start_keeper(site)
    try:
        assert wait_for(lambda: "begins" in log(site))
        current = site.layout.agent / "current"
        new = site.layout.agent / "agent-fedcba9876543210.pyz"
        new.write_bytes(current.read_bytes())
        durable.set_link(current, new.name)
        assert wait_for(lambda: log(site).count("begins") == 2), log(site)
        assert f"keeper {keeper.pid} begins" in log(site).splitlines()[-1]
    finally:
        keeper.terminate()
        assert keeper.wait(60) == 0


def log(site: Site) -> str:
    path = site.layout.state / "keeper.log"
    return path.read_text() if path.exists() else ""


def test_a_damaged_journal_stops_the_keeper_from_acting_and_is_told(site: Site, kept: Kept) -> None:
    site.decided(site.release())
    data = bytearray(site.layout.journal.read_bytes())
    data[5] ^= 1
    site.layout.journal.write_bytes(data)
    kept.look(100)
    assert f"{site.layout.journal}:1 is damaged" in log(site)
    with pytest.raises(AgentError, match="is damaged"):
        site("hello")
