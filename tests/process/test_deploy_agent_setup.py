"""A host that is set up, or is not: whose root folder it is, what is missing, and what starts at its boot."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_support import Site

from deploy.agent import bootstart
from deploy.agent.errors import AgentError
from deploy.agent.layout import Layout
from deploy.agent.operations import OPERATIONS
from deploy.facts import facts


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path)
    one.set_up()
    yield one
    one.kill()


@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_a_root_folder_of_somebody_else_is_left_as_it_is(tmp_path: Path, what: str) -> None:
    site = Site(tmp_path)
    root = site.layout.root
    if what == "file":
        root.write_text("mine")
    elif what == "link":
        root.symlink_to(tmp_path / "nowhere")
    else:
        (root / "data").mkdir(parents=True)
    with pytest.raises(AgentError) as caught:
        site.set_up()
    assert caught.value.exit_code == 7
    assert [each.name for each in root.iterdir()] == ["data"] if what == "folder" else True
    assert root.read_text() == "mine" if what == "file" else True


def test_a_host_of_another_environment_is_not_taken(site: Site) -> None:
    with pytest.raises(AgentError, match="belongs to demo"):
        site("setup", instance="demo", environment="production", name="host-1", user="", allowed_signers="x")
    assert site("hello")["environment"] == "test"


def test_setting_up_again_does_only_what_is_not_done(site: Site) -> None:
    lines = site("audit")["lines"]
    assert site.set_up() == ["the keeper is not installed: this agent runs from its source"]
    assert site("audit")["lines"] == lines
    assert site.layout.state.stat().st_mode & 0o777 == 0o700


def test_what_is_missing_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("openssl", "ssh-keygen", "redis-server", "apt-get"):
        (programs / name).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(AgentError, match="nginx is missing") as caught:
        Site(tmp_path).set_up()
    assert caught.value.hint == "apt-get install -y --no-install-recommends nginx"
    assert caught.value.exit_code == 5
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("op", sorted(set(OPERATIONS) - {"hello", "setup"}))
def test_a_host_that_is_not_set_up_says_so(tmp_path: Path, op: str) -> None:
    layout = Layout(tmp_path / "nothing")
    if op in ("history", "audit", "journal"):
        assert OPERATIONS[op](layout, {}, b"", lambda event: None)
    elif op not in ("manifest", "status"):
        with pytest.raises(AgentError, match="is not set up"):
            OPERATIONS[op](layout, {"epoch": 1}, b"", lambda event: None)
    assert not layout.root.exists()


def test_facts_of_an_untouched_host_make_sense(tmp_path: Path) -> None:
    site = Site(tmp_path)
    found = facts(site("hello"), "host-1")
    assert not found.root_exists and not found.ours and found.state == "none"
    assert found.platform.startswith(f"linux-{os.uname().machine}-")
    assert found.platform.endswith(f"cp{sys.version_info.major}{sys.version_info.minor}")
    assert found.tools["nginx"]


def test_rc_local_keeps_its_own_lines_and_ends_with_them(tmp_path: Path) -> None:
    path = tmp_path / "rc.local"
    path.write_text("#!/bin/sh\necho mine\nexit 0\n")
    layout = Layout(tmp_path / "root of ours")
    assert bootstart.rc_local(layout, path)
    assert bootstart.rc_local(layout, path) == []
    lines = path.read_text().splitlines()
    assert lines[:2] == ["#!/bin/sh", "echo mine"] and lines[-1] == "exit 0"
    assert "keep --root" in lines[3] and lines[3].endswith("&")
    assert path.stat().st_mode & 0o777 == 0o755


def test_rc_local_is_made_where_there_is_none(tmp_path: Path) -> None:
    bootstart.rc_local(Layout(tmp_path), tmp_path / "rc.local")
    assert (tmp_path / "rc.local").read_text().startswith("#!/bin/sh\n# ampzero keeper")


def test_the_unit_of_the_keeper_leaves_the_instance_alone(tmp_path: Path) -> None:
    text = bootstart.unit(Layout(tmp_path), "ampzero")
    assert "KillMode=process\n" in text and "User=ampzero\n" in text
    assert f"keep --root {tmp_path}\n" in text
