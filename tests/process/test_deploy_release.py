"""Releases built by the real git and the real pip, which finds its wheels in a folder and asks no network."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from release_support import PLATFORM, commit, git, instance_in, make_wheel, put, record_of

from deploy import release
from deploy.agent.archive import digest, extract
from deploy.release import Release, Tree, release_id
from lib.errors import AmpzeroError, ConfigError, MissingError, TakenError

PROJECT = """[project]
name = "ampzero"
version = "9.9"
dependencies = ["alpha>=1"]
[project.optional-dependencies]
boot = ["keeper"]
deploy = ["backports.zstd; python_version < '3.14'", "never-on-hosts"]
test = ["never-on-hosts"]
"""
TOOL_FILES = {
    "pyproject.toml": PROJECT, "ampzero.py": "print('hello')\n", "lib/a.py": "A = 1\n", "keys/k.py": "",
    "deploy/d.py": "", "instance_template/t": "t", "tests/test_a.py": "on no host", ".gitignore": "*.pyc\n",
}  # fmt: skip
INSTANCE_FILES = {
    "amprun.yaml": "name: demo\n", ".gitignore": "*.log\n/var/\n", "ampnode/services/hello.py": "x = 1\n",
}  # fmt: skip


try:
    ZSTD = importlib.metadata.version("backports.zstd")
except importlib.metadata.PackageNotFoundError:
    ZSTD = "1.0"
VERSIONS = {"alpha": "1.0", "keeper": "1.0", "backports_zstd": ZSTD}
"""What the tool needs; what is installed here is wanted in its version."""


class Shop:
    """A tool, an instance and a folder of wheels to build releases of."""

    def __init__(self, folder: Path) -> None:
        self.wheels = folder / "wheels"
        self.cache = folder / "cache"
        for name in VERSIONS:
            make_wheel(self.wheels, name, VERSIONS[name], files={f"{name}.py": f"{name} 1\n"})
        self.tool = commit(put(folder / "tool", TOOL_FILES))
        self.folder = commit(put(folder / "instance", INSTANCE_FILES))

    def build(self, platform: str = PLATFORM, cache: Path | None = None) -> Release:
        return release.build(instance_in(self.folder), platform, cache or self.cache, self.tool)

    def tree(self, kind: str, platform: str = PLATFORM) -> Tree:
        return next(tree for tree in self.build(platform).trees if tree.kind == kind)

    def names(self, kind: str, platform: str = PLATFORM) -> set[str]:
        with tarfile.open(self.tree(kind, platform).tar) as tar:
            return set(tar.getnames())

    def add(self, files: Mapping[str, str]) -> None:
        commit(self.folder, files)


def only_wheels_of(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Have pip know nothing but the wheels in the folder."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        patch.delenv(name)
    patch.setenv("PIP_CONFIG_FILE", os.devnull)
    patch.setenv("PIP_NO_INDEX", "1")
    patch.setenv("PIP_FIND_LINKS", str(folder))


@pytest.fixture(scope="module")
def chosen_wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels of the tool, chosen once by pip: it takes a second each time."""
    folder = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        only_wheels_of(folder / "wheels", patch)
        shop = Shop(folder)
        shop.build()
    return shop.cache / "wheels"


@pytest.fixture
def fresh_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop that has never built anything."""
    only_wheels_of(tmp_path / "wheels", monkeypatch)
    return Shop(tmp_path)


@pytest.fixture
def shop(fresh_shop: Shop, chosen_wheels: Path) -> Shop:
    """A shop that has the tool's libraries."""
    shutil.copytree(chosen_wheels, fresh_shop.cache / "wheels")
    return fresh_shop


def test_a_release_has_the_tool_its_libraries_and_the_instance(shop: Shop, tmp_path: Path) -> None:
    built = shop.build()
    ampify, instance = built.trees
    assert (ampify.kind, instance.kind) == ("ampify", "instance")
    assert shop.names("ampify") == {
        "ampzero.py", "lib/a.py", "keys/k.py", "deploy/d.py", "instance_template/t", "bin/ampzero",
        "site/ampzero-9.9.dist-info/METADATA", "site/alpha.py", "site/keeper.py", "site/backports_zstd.py",
        *(f"site/{name}-{version}.dist-info/{file}" for name, version in VERSIONS.items()
          for file in ("METADATA", "WHEEL", "RECORD")),
    }  # fmt: skip
    assert shop.names("instance") == set(INSTANCE_FILES)
    assert built.commit == git(shop.folder, "rev-parse", "HEAD")
    assert built.release == release_id({PLATFORM: {tree.kind: tree for tree in built.trees}})
    assert len(built.release) == 12 and built.left_out == ()
    for tree in built.trees:
        assert tree.name == f"{tree.kind}-{tree.sha256[:16]}"
        assert tree.size == tree.tar.stat().st_size
        extract(tree.tar, tmp_path / tree.name, limit=1 << 20, files=100)
        assert digest(tmp_path / tree.name) == tree.digest
    program = tmp_path / ampify.name / "bin/ampzero"
    (tmp_path / "link").symlink_to(program)
    done = subprocess.run([tmp_path / "link"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("hello\n", "")


def test_the_same_commit_gives_the_same_bytes_whenever_and_wherever_it_is_built(
    shop: Shop, tmp_path: Path
) -> None:
    first = shop.build()
    git(tmp_path, "clone", "-q", str(shop.folder), "other")
    git(tmp_path, "clone", "-q", str(shop.tool), "other-tool")
    shop.folder, shop.tool = tmp_path / "other", tmp_path / "other-tool"
    for path in shop.folder.glob("*.yaml"):
        os.utime(path, (1, 1))
    before = os.umask(0o077)
    try:
        again = shop.build(cache=tmp_path / "other-cache")
    finally:
        os.umask(before)
    assert [tree.tar.read_bytes() for tree in again.trees] == [tree.tar.read_bytes() for tree in first.trees]
    assert (again.release, again.commit) == (first.release, first.commit)
    shop.add({"new": ""})
    changed = shop.build()
    assert changed.trees[0] == shop.build().trees[0]
    assert changed.release != first.release


def test_an_unchanged_release_is_not_built_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shop.build()
    shutil.rmtree(shop.wheels)
    monkeypatch.setattr(sys, "executable", "/no/python")
    assert shop.build() == first


def test_what_was_broken_in_the_cache_is_made_again(shop: Shop) -> None:
    first = shop.build()
    contents = [tree.tar.read_bytes() for tree in first.trees]
    first.trees[0].tar.write_bytes(contents[0][:-1])
    first.trees[1].tar.unlink()
    for path in [*shop.cache.glob("wheels/*/alpha*.whl"), *shop.cache.glob("recipes/*")]:
        path.write_bytes(b"broken")
    assert shop.build() == first
    assert [tree.tar.read_bytes() for tree in first.trees] == contents
    assert not list(shop.cache.rglob(".*"))


def test_two_builds_at_once_share_a_cache(fresh_shop: Shop) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = [future.result() for future in [pool.submit(fresh_shop.build) for _ in range(2)]]
    assert first == second == fresh_shop.build()


def test_what_a_killed_build_left_is_removed(shop: Shop) -> None:
    put(shop.cache, {"tars/.new-ampify": "half", "wheels/.new-abc/trial-0/x.whl": "half"})
    shop.build()
    assert not list(shop.cache.rglob(".new-*"))


@pytest.mark.parametrize("which", ["tool", "folder"])
def test_a_work_tree_that_is_not_committed_is_refused_and_the_files_are_named(shop: Shop, which: str) -> None:
    folder: Path = getattr(shop, which)
    changed = "lib/a.py" if which == "tool" else "amprun.yaml"
    (folder / changed).write_text("changed\n")
    put(folder, {"lib/new.py": "", "lib/staged.py": ""})
    git(folder, "add", "lib/staged.py")
    with pytest.raises(TakenError) as raised:
        shop.build()
    for name in (changed, "lib/new.py", "lib/staged.py"):
        assert name in raised.value.message
    assert str(folder) in raised.value.message and "commit them" in raised.value.hint
    commit(folder)
    shop.build()
    (folder / changed).unlink()
    with pytest.raises(TakenError, match=changed):
        shop.build()


def test_a_change_in_the_tool_that_no_host_gets_is_nobodys_concern(shop: Shop) -> None:
    first = shop.build()
    put(shop.tool, {"tests/test_a.py": "changed", "notes": "new"})
    assert shop.build().release == first.release


def test_many_uncommitted_files_are_counted(shop: Shop) -> None:
    put(shop.folder, {f"new-{number:02}": "" for number in range(15)})
    with pytest.raises(TakenError, match=r"new-09 and 5 more$"):
        shop.build()


def test_what_is_ignored_never_enters_even_when_it_was_committed(shop: Shop) -> None:
    shop.add({".gitignore": "*.log\n", "a.log": ""})
    git(shop.folder, "add", "-f", "a.log")
    commit(shop.folder)
    put(shop.folder, {"b.log": "ignored", "deep/c.log": "ignored"})
    assert shop.build().left_out == ("a.log",)
    assert not [name for name in shop.names("instance") if name.endswith(".log")]


def test_keys_and_env_files_never_enter_and_it_is_said(shop: Shop) -> None:
    secret = (".env", "ampnode/.env.production", "ampnode/host-1.control.key", "ampnode/user-1.private.key",
              "ampnode/user-1.private.key.previous")  # fmt: skip
    shop.add({**dict.fromkeys(secret, "secret"), ".env.example": "A=", "ampnode/host-1.public.key": "public"})
    assert shop.build().left_out == tuple(sorted(secret))
    assert not set(secret) & shop.names("instance")
    assert {".env.example", "ampnode/host-1.public.key"} <= shop.names("instance")
    assert b"secret" not in shop.tree("instance").tar.read_bytes()


def test_the_users_own_ignore_file_does_not_change_a_release(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add({"lib/x.py": ""})
    first = shop.build()
    put(tmp_path, {"gitconfig": f"[core]\nexcludesFile = {tmp_path}/ignore\n", "ignore": "lib/\n"})
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    assert shop.build().release == first.release


def test_what_git_has_is_released_and_not_what_it_made_of_it(shop: Shop) -> None:
    shop.add({".gitattributes": "*.txt text eol=crlf export-ignore\n", "a.txt": "one\ntwo\n"})
    (shop.folder / "a.txt").unlink()
    git(shop.folder, "checkout", "a.txt")
    assert (shop.folder / "a.txt").read_bytes() == b"one\r\ntwo\r\n"
    with tarfile.open(shop.tree("instance").tar) as tar:
        member = tar.extractfile("a.txt")
        assert member is not None and member.read() == b"one\ntwo\n"


def test_modes_links_and_the_commits_time_are_kept(shop: Shop) -> None:
    put(shop.folder, {"run.sh": "#!/bin/sh\n", "naïve name": "x"})
    (shop.folder / "run.sh").chmod(0o755)
    (shop.folder / "ampnode/link").symlink_to("./../run.sh")
    commit(shop.folder)
    with tarfile.open(shop.tree("instance").tar) as tar:
        assert tar.getmember("run.sh").mode == 0o755
        assert tar.getmember("naïve name").mode == 0o644
        assert tar.getmember("ampnode/link").linkname == "./../run.sh"
        assert {member.mtime for member in tar} == {int(git(shop.folder, "log", "-1", "--format=%ct"))}


def test_an_instance_may_be_a_folder_of_a_repository(shop: Shop, tmp_path: Path) -> None:
    top = commit(put(tmp_path / "top", {"app/amprun.yaml": "", "app/x/y": "", "beside/z": ""}))
    (top / "beside/new").touch()
    shop.folder = top / "app"
    assert shop.names("instance") == {"amprun.yaml", "x/y"}


def test_without_a_commit_there_is_no_release(shop: Shop, tmp_path: Path) -> None:
    for setup in (["init", "-q"], []):
        shop.folder = put(tmp_path / f"bare-{len(setup)}", {"amprun.yaml": ""})
        if setup:
            git(shop.folder, *setup)
        with pytest.raises(MissingError, match="has no commit") as raised:
            shop.build()
        assert "git init" in raised.value.hint
    shop.folder = commit(put(tmp_path / "other", {"x": "", ".gitignore": "amprun.yaml\n", "amprun.yaml": ""}))
    with pytest.raises(MissingError, match=r"amprun\.yaml is not committed"):
        shop.build()


@pytest.mark.parametrize("kind", ["socket", "fifo"])
def test_a_socket_is_refused_by_its_name(shop: Shop, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.folder)
    name = "ampnode/services/s"
    if kind == "fifo":
        os.mkfifo(name)
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(name)
    with pytest.raises(AmpzeroError, match="ampnode/services/s is a socket, a pipe or a device"):
        shop.build()
    shop.add({".gitignore": "s\n"})
    assert name not in shop.names("instance")


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../etc/passwd", "services/../../../x"])
def test_a_link_that_leaves_the_tree_is_refused_by_its_name(shop: Shop, target: str) -> None:
    (shop.folder / "ampnode/bad").symlink_to(target)
    commit(shop.folder)
    with pytest.raises(AmpzeroError, match="the instance tree: the link 'ampnode/bad'"):
        shop.build()
    assert not [path for path in (shop.cache / "tars").iterdir() if path.name.startswith(".")]


def test_a_submodule_and_a_name_that_is_no_text_are_refused(shop: Shop, tmp_path: Path) -> None:
    other = commit(put(tmp_path / "other", {"x": ""}))
    git(shop.folder, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "sub")
    commit(shop.folder)
    with pytest.raises(AmpzeroError, match="'sub' is a submodule"):
        shop.build()
    shop.folder = commit(put(tmp_path / "again", INSTANCE_FILES))
    Path(os.fsdecode(bytes(shop.folder) + b"/\xff")).touch()
    commit(shop.folder)
    with pytest.raises(AmpzeroError, match="must be UTF-8"):
        shop.build()


def test_the_applications_requirements_come_with_the_instance_as_wheels(shop: Shop) -> None:
    make_wheel(shop.wheels, "web", "2.0", requires=["helper>=1", "alpha", 'never; sys_platform == "win32"'])
    make_wheel(shop.wheels, "helper", "1.5", requires=['old; python_full_version < "3.11.3"'])
    make_wheel(shop.wheels, "old")
    shop.add({"ampnode/requirements.txt": 'web==2.0\nnothing; python_version < "3"\n'})
    found = {name for name in shop.names("instance") if name.startswith("site-packages/")}
    # alpha is the tool's own, and is there already.
    assert {name for name in found if name.endswith(".py")} == {
        "site-packages/web.py", "site-packages/helper.py", "site-packages/old.py",
    }  # fmt: skip


def test_wheels_are_for_the_hosts_platform(shop: Shop) -> None:
    for tag, content in {
        "cp311-cp311-manylinux_2_28_x86_64": "new", "cp311-cp311-manylinux2014_x86_64": "old",
        "cp39-abi3-manylinux2014_aarch64": "arm", "cp312-cp312-manylinux2014_x86_64": "other python",
        "cp311-cp311-musllinux_1_1_x86_64": "musl", "cp311-cp311-macosx_11_0_arm64": "mac",
    }.items():  # fmt: skip
        make_wheel(shop.wheels, "fast", tag=tag, files={"fast.so": content})
    shop.add({"ampnode/requirements.txt": "fast\n"})

    def chosen(platform: str) -> str:
        with tarfile.open(shop.tree("instance", platform).tar) as tar:
            member = tar.extractfile("site-packages/fast.so")
            assert member is not None
            return member.read().decode()

    assert chosen("linux-x86_64-glibc2.36-cp311") == "new"
    assert chosen("linux-x86_64-glibc2.17-cp311") == "old"
    assert chosen("linux-aarch64-glibc2.31-cp313") == "arm"
    assert shop.build("linux-aarch64-glibc2.31-cp313").release != shop.build(PLATFORM).release
    with pytest.raises(MissingError, match=r"there is no wheel of fast for linux-aarch64-musl1\.2-cp311"):
        shop.build("linux-aarch64-musl1.2-cp311")


def test_what_has_no_wheel_is_named_and_never_compiled(shop: Shop, tmp_path: Path) -> None:
    source = put(tmp_path / "src/fromsource-1.0", {
        "PKG-INFO": "Metadata-Version: 2.1\nName: fromsource\nVersion: 1.0\n",
        "setup.py": "import pathlib; pathlib.Path('/COMPILED').touch()",
    })  # fmt: skip
    with tarfile.open(shop.wheels / "fromsource-1.0.tar.gz", "w:gz") as tar:
        tar.add(source, "fromsource-1.0")
    shop.add({"ampnode/requirements.txt": "fromsource\n"})
    with pytest.raises(MissingError, match=f"there is no wheel of fromsource for {PLATFORM}"):
        shop.build()


def test_the_libraries_are_those_that_are_installed_here(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(shop.wheels, "alpha", "1.1")
    make_wheel(shop.wheels, "alpha", "3.0")
    put(tmp_path / "here", {"alpha-1.1.dist-info/METADATA": "Name: alpha\nVersion: 1.1\n"})
    monkeypatch.syspath_prepend(tmp_path / "here")
    assert "site/alpha-1.1.dist-info/METADATA" in shop.names("ampify")
    # The application runs in the same process, so it cannot have another one.
    shop.add({"ampnode/requirements.txt": "alpha>=2\n"})
    with pytest.raises(AmpzeroError, match=r"Cannot install alpha.*alpha==1\.1"):
        shop.build()


def test_where_the_versions_of_here_have_no_wheels_others_are_taken(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "here", {"alpha-7.7.dist-info/METADATA": "Name: alpha\nVersion: 7.7\n"})
    monkeypatch.syspath_prepend(tmp_path / "here")
    assert "site/alpha-1.0.dist-info/METADATA" in shop.names("ampify")


def test_a_wheel_must_have_a_hash_that_was_asked_for(shop: Shop) -> None:
    make_wheel(shop.wheels, "web")
    shop.add({"ampnode/requirements.txt": "web --hash=sha256:" + "0" * 64 + "\n"})
    with pytest.raises(AmpzeroError, match="has none of the hashes"):
        shop.build()


def test_bad_requirements_are_named_with_their_line(shop: Shop) -> None:
    shop.add({"ampnode/requirements.txt": "good\n-r other.txt\n"})
    with pytest.raises(ConfigError, match=r"ampnode/requirements\.txt:2: '-r other\.txt'"):
        shop.build()
    make_wheel(shop.wheels, "good")
    shop.add({"ampnode/requirements.txt": "good\n", "site-packages/mine.py": ""})
    with pytest.raises(AmpzeroError, match="site-packages/ is committed"):
        shop.build()


def test_without_pip_it_is_said_what_is_missing(
    fresh_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv/bin/python"))
    with pytest.raises(MissingError, match="pip is missing from") as raised:
        fresh_shop.build()
    assert "ensurepip" in raised.value.hint
    assert not [*fresh_shop.cache.glob("wheels/*")]


def test_an_installed_tool_is_released_as_it_was_installed(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = put(tmp_path / "installed", {**TOOL_FILES, "lib/cached.pyc": "", "other/x.py": "another package"})
    paths = ["ampzero.py", "lib/a.py", "keys/k.py", "deploy/d.py", "instance_template/t"]
    record = record_of(place, [*paths, "other/x.py"]) + "lib/cached.pyc,,\n"
    put(place, {
        "ampzero-9.9.dist-info/METADATA": "Name: ampzero\nVersion: 9.9\nRequires-Dist: alpha\n",
        "ampzero-9.9.dist-info/RECORD": record,
    })  # fmt: skip
    monkeypatch.syspath_prepend(place)
    shop.tool = place
    names = shop.names("ampify")
    assert set(paths) <= names
    assert {name for name in names if name.startswith("site/") and name.endswith(".py")} == {"site/alpha.py"}
    assert not [name for name in names if "other" in name or name.endswith(".pyc")]
    (place / "lib/a.py").write_text("changed")
    (place / "keys/k.py").unlink()
    with pytest.raises(TakenError, match=r"is not as it was installed: lib/a\.py, keys/k\.py"):
        shop.build()


def test_records_of_what_was_built_are_the_users_alone(shop: Shop) -> None:
    shop.build()
    for path in ("tars", "recipes", "wheels"):
        assert (shop.cache / path).stat().st_mode & 0o777 == 0o700
    assert all(json.loads(path.read_text()) for path in (shop.cache / "recipes").iterdir())
