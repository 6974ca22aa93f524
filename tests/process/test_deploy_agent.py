"""The agent's operations on a host of their own, step by step: what they do, refuse and leave behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_support import Site

from deploy.agent import gate, live
from deploy.agent.errors import AgentError
from deploy.agent.journal import ORDER, Journal
from deploy.facts import facts

STEPS = ("close", "swap", "start", "open", "finish")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path)
    one.set_up()
    yield one
    one.kill()


def state(site: Site) -> str:
    last = Journal(site.layout.journal).last()
    return last.state if last else ""


def refusal(site: Site, op: str, **fields: Any) -> AgentError:
    with pytest.raises(AgentError) as caught:
        site(op, **fields)
    return caught.value


def test_a_first_deploy_serves_and_says_so(site: Site) -> None:
    manifest = site.release({"app.py": "1"})
    site.deploy(manifest)
    assert site.serving == manifest["release"]
    assert not site.is_closed
    found = facts(site("hello"), "host-1")
    assert found.state == "open" and found.pending is None and found.sequence == 1
    assert found.current and found.current.release == manifest["release"]
    assert found.current.tars["instance"] in found.tars
    assert [each.state for each in Journal(site.layout.journal).entries()] == list(ORDER)
    assert (site.layout.link("instance") / "app.py").read_text() == "1"
    assert not list(site.layout.blobs.iterdir())
    assert site("audit")["lines"] == 2
    assert site("status")["audit"]["event"] == "deployed"


def test_each_step_may_be_repeated_and_changes_nothing_then(site: Site) -> None:
    site.deploy(site.release({"app.py": "1"}))
    manifest = site.release({"app.py": "2"})
    site.decided(manifest)
    for number, op in enumerate(STEPS):
        site(op)
        before = Journal(site.layout.journal).entries()
        for again in STEPS[: number + 1]:
            site(again)
        assert Journal(site.layout.journal).entries() == before
    assert site("audit")["lines"] == 3


def test_users_are_kept_out_from_close_to_open(site: Site) -> None:
    site.deploy(site.release({"app.py": "1"}))
    site.decided(site.release({"app.py": "2"}))
    assert not site.is_closed
    for op, closed in (("close", True), ("swap", True), ("start", True), ("open", False)):
        site(op)
        assert site.is_closed is closed


def test_the_code_is_stopped_before_the_trees_are_exchanged(site: Site) -> None:
    site.deploy(site.release({"app.py": "1"}))
    site.decided(site.release({"app.py": "2"}))
    site("close")
    assert site("status")["services"]["services"][0]["state"] == "stopped"
    site("swap")
    site("start")
    assert site("status")["services"]["services"][0]["state"] == "ready"


def test_a_compatible_release_never_closes(site: Site) -> None:
    site.deploy(site.release({"app.py": "1"}))
    manifest = site.release({"app.py": "2"}, compatible=True)
    site.decided(manifest)
    for op in ("close", "swap", "start", "finish"):
        site(op)
        assert not site.is_closed
    assert site.serving == manifest["release"]
    assert "CLOSING" not in [each.state for each in Journal(site.layout.journal).entries()][-9:]


@pytest.mark.parametrize("op", ["close", "swap", "start", "open", "finish"])
def test_nothing_is_switched_before_the_decision_stands(site: Site, op: str) -> None:
    manifest = site.release()
    site.promise()
    site.stage(manifest)
    site("prepare")
    assert refusal(site, op).exit_code == 11
    site.decide(manifest, durable=False)
    assert refusal(site, op).exit_code == 11
    assert state(site) == "COMMITTED"
    assert live.current(site.layout) is None


@pytest.mark.parametrize("op", ["prepare", "close", "put", "unpack", "abort", "ping", "stage"])
def test_another_epoch_than_the_promised_one_is_refused(site: Site, op: str) -> None:
    site.promise("old")
    old = site.epoch
    site.promise("new")
    text, signature = site.sign(site.release())
    fields = {"manifest": text, "signature": signature} if op == "stage" else {}
    assert refusal(site, op, epoch=old, **fields).exit_code == 11
    assert refusal(site, op, epoch=old + 7, **fields).exit_code == 11


def test_two_coordinators_never_get_the_same_epoch(site: Site) -> None:
    site.promise("first")
    error = refusal(site, "promise", coordinator="second")
    assert error.exit_code == 11 and "another coordinator" in error.message
    site("promise", coordinator="first")


def test_a_decision_of_an_older_epoch_is_refused(site: Site) -> None:
    manifest = site.release()
    site.promise()
    site.stage(manifest)
    site("prepare")
    late = site.epoch
    site.promise("another")
    with pytest.raises(AgentError) as caught:
        site.decide(manifest, epoch=late)
    assert caught.value.exit_code == 11
    assert state(site) == "PREPARED"


def test_only_one_decision_is_made_in_an_epoch(site: Site) -> None:
    manifest = site.release()
    site.promise()
    site.stage(manifest)
    site("prepare")
    site.decide(manifest, durable=False)
    with pytest.raises(AgentError, match="another decision"):
        site.decide(manifest, "abort")


def test_a_witness_keeps_a_decision_that_is_not_about_it(site: Site) -> None:
    manifest = site.release()
    site.promise()
    site.stage(manifest)
    site.decide(manifest, hosts=["host-2"])
    assert state(site) == "STAGED"
    pending = facts(site("hello"), "host-1").pending
    assert pending and pending.decision == "commit" and pending.hosts == ["host-2"]


def test_what_stands_cannot_be_given_up(site: Site) -> None:
    manifest = site.release()
    site.decided(manifest)
    site.promise("another")
    with pytest.raises(AgentError) as caught:
        site.decide(manifest, "abort")
    assert caught.value.exit_code == 11
    assert refusal(site, "abort").exit_code == 11
    assert state(site) == "DURABLE"


def test_a_decision_that_never_stood_is_undone_by_a_higher_epoch(site: Site) -> None:
    manifest = site.release()
    site.promise()
    site.stage(manifest)
    site("prepare")
    site.decide(manifest, durable=False)
    site.promise("another")
    site.decide(manifest, "abort")
    assert state(site) == "ABORTED"


def test_giving_up_leaves_the_old_release_and_clears_up(site: Site) -> None:
    first = site.release({"app.py": "1"})
    site.deploy(first)
    second = site.release({"app.py": "2"})
    site.promise()
    site.stage(second)
    site("prepare")
    site.decide(second, "abort")
    assert site.serving == first["release"] and not site.is_closed
    assert len(site("hello")["trees"]) == 2
    assert site("hello")["pending"] is None
    site.deploy(site.release({"app.py": "3"}))


def test_a_foreign_signature_is_refused(site: Site, tmp_path: Path) -> None:
    other = Site(tmp_path / "other")
    site.promise()
    manifest = site.release()
    text, signature = other.sign(manifest)
    error = refusal(site, "stage", manifest=text, signature=signature)
    assert error.exit_code == 11 and "signature" in error.message
    text, signature = site.sign(manifest)
    assert refusal(site, "stage", manifest=text.replace("test", "prod"), signature=signature).exit_code == 11
    assert not site.layout.journal.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"environment": "production"}, "belongs to demo"),
        ({"hosts": ["host-2"]}, "not for host-1"),
        ({"expires": "2020-01-01T00:00:00Z"}, "expired"),
        ({"trees": {}}, "no trees for"),
    ],
)
def test_a_manifest_that_is_not_for_this_host_now_is_refused(
    site: Site, change: dict[str, Any], words: str
) -> None:
    site.promise()
    text, signature = site.sign(site.release(**change))
    assert words in refusal(site, "stage", manifest=text, signature=signature).message


def test_an_older_release_is_refused_and_comes_back_only_as_a_new_one(site: Site) -> None:
    first = site.release({"app.py": "1"})
    site.deploy(first)
    site.deploy(site.release({"app.py": "2"}))
    site.promise()
    text, signature = site.sign(first)
    assert refusal(site, "stage", manifest=text, signature=signature).exit_code == 11
    site.sequence += 1
    back = {**first, "sequence": site.sequence}
    text, signature = site.sign(back)
    assert site("stage", manifest=text, signature=signature)["need"] == []
    site("unpack")
    site("prepare")
    site.decide(back)
    for op in STEPS:
        site(op)
    assert site.serving == first["release"]


def test_a_release_that_is_unhealthy_keeps_the_host_closed_and_says_why(site: Site) -> None:
    good = site.release({"app.py": "1"})
    site.deploy(good)
    site.decided(site.release({"broken": ""}))
    site("close")
    site("swap")
    error = refusal(site, "start")
    assert "web does not become ready" in error.message and error.exit_code == 6
    found = site("status")
    assert site.is_closed and found["state"] == "closed"
    assert "web does not become ready" in found["why"]
    assert "web does not become ready" in found["pending"]["error"]
    assert refusal(site, "open").message == "the release is not healthy here yet"
    # The way back: the healthy one before, as a new release, without any transfer.
    site.sequence += 1
    back = {**good, "sequence": site.sequence}
    site.promise()
    text, signature = site.sign(back)
    assert site("stage", manifest=text, signature=signature)["need"] == []
    site("unpack")
    site("prepare")
    site.decide(back)
    for op in STEPS:
        site(op)
    assert site.serving == good["release"] and not site.is_closed
    kept = live.previous(site.layout)
    assert kept and kept.release == good["release"], "what was never healthy is nothing to go back to"


def test_what_the_new_release_cannot_run_with_shows_before_anything_is_touched(site: Site) -> None:
    site.deploy(site.release({"app.py": "1"}))
    site.promise()
    site.stage(site.release({"refused": ""}))
    error = refusal(site, "prepare")
    assert "nginx.conf:3: refused" in error.message and error.exit_code == 4
    assert state(site) == "STAGED"


def test_a_tree_that_was_changed_by_hand_is_not_vouched_for(site: Site) -> None:
    manifest = site.release({"app.py": "1"})
    site.promise()
    site.stage(manifest)
    tree = next(iter(manifest["trees"].values()))["instance"]["name"]
    (site.layout.tree(tree) / "app.py").write_text("2")
    assert "was changed" in refusal(site, "prepare").message
    site("unpack")
    site("prepare")
    assert (site.layout.tree(tree) / "app.py").read_text() == "1"


def test_a_damaged_blob_is_refused_and_sent_again(site: Site) -> None:
    manifest = site.release({"app.py": "1"})
    site.promise()
    text, signature = site.sign(manifest)
    sha256 = site("stage", manifest=text, signature=signature)["need"][0]
    data = site.blobs[sha256]
    bad = bytes([data[0] ^ 1]) + data[1:]
    with pytest.raises(AgentError, match="damaged"):
        site("put", bad, sha256=sha256, offset=0, size=len(data))
    assert site("put", b"", sha256=sha256, offset=0, size=len(data))["have"] == 0
    assert site("put", data[:10], sha256=sha256, offset=0, size=len(data))["have"] == 10
    assert site("put", b"", sha256=sha256, offset=0, size=len(data))["have"] == 10
    assert site("put", data[50:], sha256=sha256, offset=50, size=len(data))["have"] == 10
    assert site("put", data[10:], sha256=sha256, offset=10, size=len(data))["have"] == len(data)
    with pytest.raises(AgentError, match="not in the manifest"):
        site("put", b"x", sha256="0" * 64, offset=0, size=1)


def test_a_secret_goes_beside_the_tree_and_no_further(site: Site) -> None:
    secrets = {"name": "secrets-" + "5" * 16, "files": [".env", "ampnode/key"]}
    manifest = site.release({"app.py": "1"}, secrets=secrets)
    site.promise()
    site.stage(manifest)
    with pytest.raises(AgentError, match=r"the secret \.env has not arrived"):
        site("prepare")
    for path in secrets["files"]:
        site("secrets", path.encode(), path=path)
    assert refusal(site, "secrets", path="../../state/promise").exit_code == 11
    site("prepare")
    site.decide(manifest)
    for op in STEPS:
        site(op)
    tree = site.layout.link("instance")
    assert (tree / ".env").read_text() == ".env"
    assert (tree / "ampnode/key").read_text() == "ampnode/key"
    folder = site.layout.tree(str(secrets["name"]))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600


def test_a_hook_gets_its_variables_a_deadline_and_its_exit_code_is_told(site: Site) -> None:
    script = 'echo "$AMPZERO_HOST $AMPZERO_ENVIRONMENT $AMPZERO_INSTANCE $AMPZERO_ROLE"; cat app.py; exit 3'
    site.promise()
    site.stage(site.release({"app.py": "hello"}, hooks={"pre_update": ["sh", "-c", script]}))
    assert site("hook", which="pre_update", role="web")["code"] == 3
    assert site.heard[-2:] == ["host-1 test demo web", "hello"]
    assert site("hook", which="pre_update", argv=[])["code"] == 0
    site.stage(site.release(hooks={"pre_update": "sleep 600"}, policy={"hook_deadline": 0.2}))
    assert "took longer" in refusal(site, "hook", which="pre_update").message


def test_clearing_up_never_takes_what_is_live_or_was_healthy_before(site: Site) -> None:
    for number in range(4):
        site.deploy(site.release({"app.py": str(number)}))
    now, before = live.current(site.layout), live.previous(site.layout)
    assert now and before
    assert set(site("hello")["trees"]) == {now.ampify, now.instance, before.instance}
    stray = site.layout.tree("instance-" + "0" * 16)
    stray.mkdir()
    shutil.rmtree(site.layout.tree(before.instance))
    site.layout.previous.unlink()
    assert site("clean")["removed"] == [stray.name, f"{before.tars['instance']}.tar"]
    assert (site.layout.link("instance") / "app.py").read_text() == "3"
    with pytest.raises(AgentError) as caught:
        site("manifest", release=before.release)
    assert caught.value.exit_code == 5
    assert json.loads(site("manifest", release=now.release)["manifest"])["release"] == now.release


def test_the_same_release_staged_again_with_a_new_epoch_needs_nothing(site: Site) -> None:
    manifest = site.release({"app.py": "1"})
    site.promise()
    site.stage(manifest)
    site.promise("again")
    text, signature = site.sign(manifest)
    assert site("stage", manifest=text, signature=signature)["need"] == []
    site("prepare")
    site.decide(manifest)
    site("close")
    site.promise("a third")
    later = {**manifest, "issued": "2026-01-02T00:00:00Z"}
    text, signature = site.sign(later)
    assert site("stage", manifest=text, signature=signature)["need"] == []
    site("prepare")
    site.decide(later)
    assert state(site) == "CLOSED"
    for op in STEPS:
        site(op)
    assert site.serving == manifest["release"]


def test_what_a_coordinator_tells_of_its_deploys_is_kept_a_hundred_times(site: Site) -> None:
    for number in range(103):
        site("record", entry={"sequence": number})
    assert [each["sequence"] for each in site("history")["deploys"]] == list(range(3, 103))


def test_healthy_is_asked_of_the_instance_itself(site: Site) -> None:
    site.deploy(site.release())
    site("healthy")
    site.kill()
    error = refusal(site, "healthy")
    assert error.exit_code == 6 and "does not run" in error.message
    assert site("hello")["state"] == "stopped"


def test_the_gate_follows_what_is_wanted(site: Site) -> None:
    gate.close(site.layout, "demo", "because")
    (site.var / "run/placeholder").unlink()
    gate.apply(site.layout, "demo")
    assert site.is_closed
    gate.open_(site.layout, "demo")
    assert not site.is_closed
