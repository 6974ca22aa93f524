"""Services that deployment.yaml gives to some hosts alone: they run there, and serve that host's node."""

from __future__ import annotations

from pathlib import Path

import pytest
from deploy_trials import POLICY
from fleet_support import AMPRUN, NODE, Site, ask, make_site, shared_cache
from lab_support import MakeLab

pytestmark = pytest.mark.root
MODULE = """
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from lib.errors import AmpzeroError


def routes(node):
    def page(request):
        try:
            node.zerodata.put("task", "1", {"title": "kept"})
            return PlainTextResponse(node.zerodata.get("task", "1").value["title"])
        except AmpzeroError as error:
            return PlainTextResponse(error.message)

    return [Route("/", page)]
"""


def running(site: Site) -> dict[str, set[str]]:
    """The services that run, by host."""
    found = {}
    for host in site.lab.hosts:
        logs = host.path("/opt/ampzero/var/shop/logs")
        found[host.name] = {path.name for path in logs.iterdir() if path.is_dir()}
    return found


@pytest.mark.slow
def test_zerodata_and_logstore_run_where_they_are_named(
    make_lab: MakeLab, clean_tool: Path, tmp_path: Path
) -> None:
    site: Site = make_site(tmp_path, clean_tool, make_lab(2), shared_cache())
    text = AMPRUN.format(port=site.port) + "  zerodata: {}\n  logstore: {}\n"
    (site.folder / "amprun.yaml").write_text(text)
    (site.folder / "ampnode/ampnode.yaml").write_text(NODE)
    site.commit("ampnode/services/version.py", MODULE)
    site.configure(policy=POLICY, services={"zerodata": ["host-2"], "logstore": ["host-2"]})
    assert site.ampzero("deploy", ".", "--setup").code == 0
    site.deploy()
    one, two = (f"https://{host.address}:{site.port}/version/" for host in site.lab.hosts)
    assert ask(two, 10) == "kept"
    assert ask(one, 10) == "the instance shop has no zerodata service"
    found = running(site)
    assert {"zerodata", "logstore"} <= found["host-2"] and not {"zerodata", "logstore"} & found["host-1"]
    assert "nothing to deploy" in site.deploy().out

    site.configure(policy=POLICY, services={"zerodata": ["host-1", "host-2"]})
    assert "settings of its own" in site.deploy("--dry-run").out
    site.deploy()
    assert (ask(one, 10), ask(two, 10)) == ("kept", "kept")
    status = (
        site.lab.hosts[1]
        .run(["sh", "-c", "cd /opt/ampzero/dist/instance && ../ampify/bin/ampzero status --json"])
        .stdout
    )
    assert '"zerodata"' in status and '"logstore"' not in status

    site.configure(policy=POLICY, services={"nginx": ["host-1"]})
    done = site.ampzero("deploy", ".", "--yes")
    assert done.code == 4 and "zerodata and logstore" in done.err, done.err
