"""`ampzero` typed on a host of a deploy, by root at its console: it finds the instance, and is its owner."""

from __future__ import annotations

import json

import pytest
from deploy_trials import Trial

from deploy.lab import Host

pytestmark = pytest.mark.root
DIST = "/opt/ampzero/dist"


def typed(host: Host, line: str) -> str:
    """What a line typed in the instance's folder prints."""
    return host.run(["sh", "-c", f"cd {DIST}/instance && PATH=$PATH:{DIST}/ampify/bin && {line}"]).stdout


@pytest.mark.slow
def test_commands_typed_on_a_host_find_what_runs_there(trial: Trial) -> None:
    host = trial.site.lab.hosts[0]
    status = json.loads(typed(host, "ampzero status --json"))
    assert status["name"] == "shop" and status["release"]
    pids = {each["name"]: each["pid"] for one in status["services"] for each in one["processes"]}
    typed(host, "ampzero restart . ampnode")
    typed(host, "ampzero reload")
    after = json.loads(typed(host, "ampzero status --json"))
    assert after["release"] == status["release"], "what was deployed still runs as that"
    now = {each["name"]: each["pid"] for one in after["services"] for each in one["processes"]}
    assert now["redis.1"] == pids["redis.1"] and now["ampnode.1"] != pids["ampnode.1"]
    assert "ampnode" in typed(host, "ampzero logs -n 5 . ampnode supervisor")

    uid = host.run(["stat", "-c", "%u", "/opt/ampzero"]).stdout
    assert uid != "0\n"
    typed(host, "ampzero stop && ampzero run --server")
    pid = json.loads(typed(host, "ampzero status --json"))["services"][0]["processes"][0]["pid"]
    assert host.run(["stat", "-c", "%u", f"/proc/{pid}"]).stdout == uid, "root gave up its rights"
    assert trial.site.serves(host) == trial.version
    trial.deploy()
