"""What stands in the way of a deploy: one line that names it, a hint, a code; the old release untouched."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from deploy_trials import POLICY, Trial
from fleet_support import Site, git, make_site, shared_cache
from lab_support import MakeLab

pytestmark = pytest.mark.root
OLD_PYTHONS = sorted(
    path for minor in range(6, 11) for path in Path.home().glob(f".pyenv/versions/3.{minor}.*")
)
"""Pythons that are too old for an agent, as many as this machine has."""
Change = Callable[[Trial, Path], Any]


def edited(trial: Trial, **keys: Any) -> None:
    """Other keys in deployment.yaml of the environment."""
    trial.site.configure(policy=POLICY, **keys)


def on_second(trial: Trial, address: str) -> None:
    hosts = [{"name": host.name, "address": f"root@{host.address}"} for host in trial.site.lab.hosts]
    edited(trial, hosts=[hosts[0], {"name": "host-2", "address": address}, hosts[2]],
           ssh={"key": str(trial.site.lab.login.key), "known_hosts": str(trial.site.lab.login.known_hosts),
                "connect_timeout": "5s"})  # fmt: skip


def no_known_hosts(trial: Trial, tmp_path: Path) -> None:
    (tmp_path / "known").write_text("")
    edited(trial, ssh={"key": str(trial.site.lab.login.key), "known_hosts": str(tmp_path / "known")})


def no_python(trial: Trial, tmp_path: Path) -> None:
    trial.site.lab.hosts[1].path("/root/.bashrc").write_text("PATH=/nowhere\n")


def old_python(trial: Trial, tmp_path: Path) -> None:
    """A Python of pyenv's in front of the system's on the second host."""
    if not OLD_PYTHONS:
        pytest.skip("no Python before 3.11 is here")
    source, host = OLD_PYTHONS[-1], trial.site.lab.hosts[1]
    name = f"python3.{source.name.split('.')[1]}"
    unused = shutil.ignore_patterns("test", "site-packages", "config-*", "idlelib", "__pycache__", "*.a")
    shutil.copytree(source / "lib" / name, host.path(f"/opt/old/lib/{name}"), ignore=unused)
    (host.path("/opt/old/bin")).mkdir()
    shutil.copy(source / "bin" / name, host.path("/opt/old/bin/python3"))
    for library in (source / "lib").glob("libpython3*.so*"):
        shutil.copy(library, host.path("/opt/old/lib"), follow_symlinks=False)
    host.path("/root/.bashrc").write_text("export LD_LIBRARY_PATH=/opt/old/lib PATH=/opt/old/bin:$PATH\n")


def taken_root(trial: Trial, tmp_path: Path) -> None:
    for host in trial.site.lab.hosts:
        place = host.path("/opt/other")
        place.mkdir(exist_ok=True)
        (place / "theirs").write_text("")
    edited(trial, root="/opt/other")


def dirty(trial: Trial, tmp_path: Path) -> None:
    (trial.site.folder / "draft.txt").write_text("")


def with_socket(trial: Trial, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(trial.site.folder / "a.sock"))


def with_escaping_link(trial: Trial, tmp_path: Path) -> None:
    (trial.site.folder / "out").symlink_to("../../etc/passwd")
    git(trial.site.folder, "add", "--all")
    git(trial.site.folder, "commit", "-q", "-m", "a link")


CASES: dict[str, tuple[Change, int, str]] = {
    "unknown key": (lambda trial, _: edited(trial, canaries=3), 4, "deployment.yaml:"),
    "unreachable": (lambda trial, _: on_second(trial, "root@127.0.0.1:9"), 12, "host-2"),
    "wrong user": (
        lambda trial, _: on_second(trial, f"nobody@{trial.site.lab.hosts[1].address}"),
        12,
        "host-2",
    ),
    "unknown host key": (no_known_hosts, 11, "SHA256:"),
    "no python": (no_python, 12, "host-2: no python3 on the host"),
    "old python": (old_python, 12, "host-2: its python3 is 3."),
    "clock": (lambda trial, _: trial.site.lab.hosts[1].set_clock(3600), 11, "its clock is 60 minutes ahead"),
    "taken root": (taken_root, 7, "/opt/other is there and is not ours"),
    "not set up": (lambda trial, _: edited(trial, root="/opt/new"), 5, "is not set up"),
    "dirty": (dirty, 7, "draft.txt"),
    "socket": (with_socket, 1, "a.sock is a socket"),
    "escaping link": (with_escaping_link, 1, "out"),
}


@contextmanager
def undone(trial: Trial) -> Iterator[None]:
    """Whatever a case changed is as before at the end."""
    site = trial.site
    commit = git(site.folder, "rev-parse", "HEAD")
    try:
        yield
    finally:
        git(site.folder, "reset", "-q", "--hard", commit)
        git(site.folder, "clean", "-qfd")
        (site.folder / "a.sock").unlink(missing_ok=True)
        second = site.lab.hosts[1]
        second.path("/root/.bashrc").unlink(missing_ok=True)
        second.set_clock(0)


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_touched(
    trial: Trial, tmp_path: Path, case: str
) -> None:
    change, code, said = CASES[case]
    journals = [host.path("/opt/ampzero/state/journal").read_bytes() for host in trial.site.lab.hosts]
    with undone(trial):
        change(trial, tmp_path)
        done = trial.site.ampzero("deploy", ".", "--yes")
    errors = [line for line in done.err.splitlines() if line.startswith("ampzero: error: ")]
    assert len(errors) == 1 and said in errors[0], done.err
    assert done.code == code, done.err
    assert "hint: " in done.err, "what is to be done"
    assert "Traceback" not in done.err
    assert [host.path("/opt/ampzero/state/journal").read_bytes() for host in trial.site.lab.hosts] == journals
    assert trial.site.served() == {trial.version}


def test_there_is_nothing_to_deploy_twice_and_no_such_host(trial: Trial) -> None:
    trial.deploy()
    done = trial.site.deploy("--json")
    assert json.loads(done.out)["outcome"] == "nothing to deploy"
    unknown = trial.site.ampzero("deploy", ".", "--host", "host-9", "--dry-run")
    assert unknown.code == 2 and "host-1, host-2, host-3" in unknown.err


def test_a_host_without_room_is_named_before_anything_is_sent_and_after(
    make_lab: MakeLab, clean_tool: Path, tmp_path: Path
) -> None:
    lab = make_lab(1, opt_size=260 * 2**20)
    site: Site = make_site(tmp_path, clean_tool, lab, shared_cache())
    site.configure(policy=POLICY)
    assert site.ampzero("deploy", ".", "--setup").code == 0
    hog = lab.hosts[0].path("/opt/hog")
    hog.write_bytes(bytes(200 * 2**20))
    done = site.ampzero("deploy", ".", "--yes")
    assert done.code == 8 and "MB are needed" in done.err, done.err
    hog.unlink()
    site.deploy()
    assert site.served() == {"one"}
