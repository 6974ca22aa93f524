"""AMPZERO_RELEASE: another release replaces what runs the instance's code, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from running_support import Running

from lib.control.client import ControlClient

MakeRunning = Callable[..., Running]

TELLS = """
import os, time
print(open("version").read(), os.environ.get("AMPZERO_RELEASE"), flush=True)
time.sleep(600)
"""


def release(one: Running, word: str, version: str) -> Path:
    """A folder of a release beside the instance's, which says `version`."""
    folder = one.folder.with_name(f"{one.folder.name}-{word * 16}")
    shutil.copytree(one.folder, folder)
    (folder / "version").write_text(version)
    return folder


def switch(link: Path, folder: Path) -> None:
    aside = link.with_name("aside")
    aside.symlink_to(folder.name)
    aside.rename(link)


@pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis")
def test_a_switched_link_is_the_same_instance_and_reload_replaces_its_code_only(
    make_running: MakeRunning,
) -> None:
    one = make_running(
        "services:\n  redis: {}\n  web: {command: python3 app.py, depends_on: [redis]}\n", {"app.py": TELLS}
    )
    old, new = release(one, "a", "one"), release(one, "b", "two")
    shutil.rmtree(one.folder)
    switch(one.folder, old)
    one.start("--server", env={"AMPZERO_RELEASE": "r1"})
    redis, web = one.pid("redis"), one.pid("web")
    assert one.status()["release"] == "r1"
    assert one.status()["directory"] == str(one.folder)

    # The same once more is no change, and neither is a person's reload without the variable.
    for env in ({"AMPZERO_RELEASE": "r1"}, {}):
        assert one.ampzero("reload", one.folder, env=env).out == "nothing changed\n"

    switch(one.folder, new)
    done = one.ampzero("reload", one.folder, env={"AMPZERO_RELEASE": "r2"})
    assert done.code == 0, done
    one.until(lambda: one.output("web") == [b"one r1", b"two r2"])
    assert one.pid("redis") == redis
    assert one.pid("web") != web
    assert os.readlink(f"/proc/{one.pid('web')}/cwd") == str(new)  # noqa: PTH115 -- no file's path
    assert one.status()["release"] == "r2"
    assert one.ampzero("scale", one.folder, "web=2").code == 0
    assert one.status()["release"] == "r2"
    one.until(lambda: one.output("web")[-1] == b"two r2")


def test_a_release_of_an_instance_without_code_of_its_own_is_known_too(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600, processes: 0}\n")
    one.start(env={"AMPZERO_RELEASE": "r1"})
    assert one.ampzero("reload", one.folder, env={"AMPZERO_RELEASE": "r2"}).code == 0
    assert one.status()["release"] == "r2"


def test_any_other_link_to_a_running_instance_means_that_instance(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n").start()
    link = one.folder.with_name("elsewhere")
    link.symlink_to(one.folder)
    for name in (link, f"{link}/", link / ".." / "demo"):
        assert one.ampzero("status", name).code == 0
        assert one.ampzero("reload", name).out == "nothing changed\n"
    switched = one.folder.with_name("live")
    target = one.folder.rename(one.folder.with_name("live-" + "0" * 16))
    switched.symlink_to(target.name)
    one.folder.symlink_to(target)
    assert one.ampzero("status", switched).code == 0
    assert one.ampzero("status", cwd=target).code == 0
    assert one.ampzero("run", cwd=target).code == 0
    assert (one.var / "state/owner").read_text() == f"{one.folder}\n"


def test_the_root_directory_that_was_given_at_the_start_holds_for_a_scale_from_inside(
    make_running: MakeRunning, tmp_path: Path
) -> None:
    one = make_running("services:\n  web: {command: sleep 600}\n")
    one.root = tmp_path / "given"
    env = {"AMPZERO_ROOT": str(one.root)}
    one.start(env=env)
    assert one.var.parent == one.root
    control = Path(json.loads(one.ampzero("status", one.folder, "--json", env=env).out)["sockets"]["control"])
    ControlClient(control).call("scale", 60.0, service="web", processes="2")
    assert len(one.service("web")["processes"]) == 2
    assert one.ampzero("stop", one.folder, env=env).code == 0
