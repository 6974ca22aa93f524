"""A built release runs from its extracted trees alone, by a host's Python, with nothing of this checkout."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import ssl
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from release_support import commit, instance_in, make_wheel, own_platform, repack
from support import RUN_VARIABLE, Ampzero, unused_port

from deploy import release
from deploy.agent.archive import digest, extract
from deploy.release import TOOL, Tree
from deploy.release.platform import Platform
from deploy.release.requirements import Library, applying, closure
from deploy.release.tool import PARTS, PROJECT

MODULE = """
from starlette.responses import PlainTextResponse
from starlette.routing import Route
import greeting, starlette

def routes(node):
    return [Route("/", lambda request: PlainTextResponse(f"{greeting.__file__} {starlette.__file__}"))]
"""


def look(name: str) -> Library | None:
    """A library that is installed here."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    return Library(found.version, tuple(map(Requirement, found.requires or [])))


def installed_wheels(folder: Path) -> None:
    """Wheels of what hosts need, as it is installed here, and of what only older Pythons need."""
    folder.mkdir()
    declared = tomllib.loads((TOOL / PROJECT).read_text())["project"]["dependencies"]
    platform = Platform.parse(own_platform())
    roots = applying(map(Requirement, [*declared, "supervisor", "backports.zstd"]), platform)
    for name in closure(roots, look, platform)[0]:
        repack(folder, name)
    make_wheel(folder, "async_timeout", "5.0.1")
    make_wheel(folder, "greeting")


def copy_of_the_tool(folder: Path) -> Path:
    """This checkout as it is now, committed."""
    skip = shutil.ignore_patterns("__pycache__")
    folder.mkdir()
    for name in (*PARTS, PROJECT):
        if (TOOL / name).is_dir():
            shutil.copytree(TOOL / name, folder / name, ignore=skip)
        else:
            shutil.copy(TOOL / name, folder / name)
    return commit(folder)


def make_demo(ampzero: Ampzero, place: Path, root: Path, port: int) -> Path:
    """An instance as `init` makes it, with a module that needs a library."""
    done = ampzero("init", "demo", "--dir", place)
    assert done.code == 0, done
    folder = place / "demo"
    lines = (folder / "amprun.yaml").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("amprun_root_directory:", "port:"))]
    modules = (folder / "ampnode/ampnode.yaml").read_text()
    return commit(folder, {
        "amprun.yaml": f"amprun_root_directory: {root}\nport: {port}\n" + "\n".join(kept) + "\n",
        "ampnode/ampnode.yaml": modules.replace("modules:\n", "modules:\n  greets: {path: /greets}\n"),
        "ampnode/services/greets.py": MODULE, "ampnode/requirements.txt": "greeting==1.0\n",
    })  # fmt: skip


class Host:
    """A host's folder with the trees of a release, and its programs, run in an environment of their own."""

    def __init__(self, root: Path, trees: tuple[Tree, ...]) -> None:
        self.root = root
        self.dist = root / "dist"
        self.dist.mkdir(parents=True)
        for tree in trees:
            extract(tree.tar, self.dist / tree.name, limit=1 << 30, files=100_000)
            (self.dist / tree.kind).symlink_to(tree.name)

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        own = Path(os.path.realpath(sys.executable)).parent
        # HOME is one that cannot be used: nothing may be read from there, or written to it.
        env = {
            "PATH": f"{own}:/usr/sbin:/usr/bin:/sbin:/bin", "AMPZERO_ROOT": str(self.root / "var"),
            "HOME": "/nonexistent", RUN_VARIABLE: os.environ[RUN_VARIABLE],
        }  # fmt: skip
        program = self.dist / "ampify/bin/ampzero"
        return subprocess.run(
            [program, *arguments, str(self.dist / "instance")], env=env, cwd="/", timeout=90,
            capture_output=True, text=True,
        )  # fmt: skip


def fetch(url: str) -> str:
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(url, timeout=30, context=unchecked) as answer:  # noqa: S310 -- it is https
        text: str = answer.read().decode()
        return text


@pytest.mark.skipif(
    not shutil.which("nginx") or not shutil.which("redis-server"), reason="no nginx, no redis"
)
def test_a_host_runs_an_instance_with_nothing_but_the_trees_of_a_release(
    tmp_path: Path, ampzero: Ampzero, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    installed_wheels(tmp_path / "wheels")
    root, port = tmp_path / "r", unused_port()
    folder = make_demo(ampzero, tmp_path, root / "var", port)
    built = release.build(
        instance_in(folder), own_platform(), tmp_path / "cache", copy_of_the_tool(tmp_path / "tool")
    )
    host = Host(root, built.trees)
    shutil.rmtree(tmp_path / "tool")
    shutil.rmtree(folder)
    try:
        done = host("run", "--server")
        assert done.returncode == 0, done
        status = json.loads(host("status", "--json").stdout)
        states = {service["name"]: service["state"] for service in status["services"]}
        assert states == {"redis": "ready", "ampnode": "ready", "nginx": "ready"}
        mine, libraries = map(Path, fetch(f"https://localhost:{port}/greets").split())
        assert mine.resolve() == (host.dist / "instance/site-packages/greeting.py").resolve()
        assert libraries.is_relative_to((host.dist / "ampify/site").resolve())
    finally:
        stopped = host("stop")
    assert stopped.returncode == 0, stopped
    # Whatever ran there, the trees are as they came.
    assert [digest(host.dist / tree.name) for tree in built.trees] == [tree.digest for tree in built.trees]
