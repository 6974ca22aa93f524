"""`ampzero init`, as a user runs it: the tree, what git holds, what stands in its way."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from support import NOBODY, Ampzero, Result, as_user

TREE = {
    "": {".git", ".gitignore", "README.md", "amprun.yaml", "deployment.yaml", "ampnode", "keyspace",
         "logstore", "zerodata", "nginx"},
    "ampnode": {"ampnode.yaml", "redis.conf", "services", "templates", "hub.public.key",
                "host-1.control.key", "host-1.private.key", "host-1.public.key", "host-1.operations.key",
                "user-1.control.key", "user-1.private.key", "user-1.public.key", "user-1.operations.key"},
    "keyspace": {"keyspace-single.conf", "keyspace-0.conf", "keyspace-1.conf", "keyspace-2.conf"},
    "nginx": {"nginx.conf", "server.cert", "server.key", "server.pin", "www"},
}  # fmt: skip
"""The design's tree; the folders of the two small applications hold more than it names."""
APPLICATION = {"app.yaml", "index.yaml", "config.py", "lib", "remote.py", "www"}
KEYS = ("host-1.control", "host-1.private", "user-1.control", "user-1.private")


def init(ampzero: Ampzero, place: Path, *more: str, name: str = "kickass", stdin: str = "") -> Result:
    return ampzero("init", name, "--yes", "--dir", place, "--set", f"root={place}/var", *more, stdin=stdin)


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=True)
    return done.stdout.decode(errors="replace").strip()


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_tree_and_what_is_said(ampzero: Ampzero, tmp_path: Path) -> None:
    done = init(ampzero, tmp_path)
    assert done.code == 0, done.err
    folder = tmp_path / "kickass"
    for name, wanted in TREE.items():
        assert {path.name for path in (folder / name).iterdir()} == wanted
    for name in ("zerodata", "logstore"):
        assert {path.name for path in (folder / name).iterdir()} >= {*APPLICATION, f"{name}.py"}
    assert (tmp_path / "var").is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {"kickass", "var"}
    assert "user-1, host-1" in done.out
    assert "not in git" in done.out
    assert f"ampzero run {folder}" in done.out
    assert done.err.count("back up") == 1
    assert "Traceback" not in done.err


def test_modes(ampzero: Ampzero, tmp_path: Path) -> None:
    old = os.umask(0)  # the loosest: what is secret must not depend on it
    try:
        assert init(ampzero, tmp_path).code == 0
    finally:
        os.umask(old)
    folder = tmp_path / "kickass"
    for path in folder.rglob("*.key"):
        secret = path.name.endswith((".private.key", ".control.key", "server.key"))
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if secret else 0o644), path
    assert stat.S_IMODE(folder.stat().st_mode) & 0o700 == 0o700


def blobs(folder: Path) -> dict[str, str]:
    """The content of every blob in the repository, reachable or not, by its id."""
    listed = git(folder, "cat-file", "--batch-all-objects", "--batch-check").splitlines()
    return {
        line.split()[0]: git(folder, "cat-file", "-p", line.split()[0]) for line in listed if " blob " in line
    }


def test_git_holds_no_secret(ampzero: Ampzero, tmp_path: Path) -> None:
    assert init(ampzero, tmp_path).code == 0
    folder = tmp_path / "kickass"
    assert git(folder, "status", "--porcelain") == ""
    assert git(folder, "rev-list", "--all", "--count") == "1"
    tracked = set(git(folder, "ls-files").splitlines())
    assert {"amprun.yaml", "ampnode/hub.public.key", "nginx/server.cert", ".gitignore"} <= tracked
    assert not [name for name in tracked if name.endswith((".private.key", ".control.key", "server.key"))]
    secrets = [
        path.read_text()
        for path in folder.rglob("*.key")
        if path.name.split(".")[1] not in ("public", "operations")
    ]
    assert len(secrets) == 5
    found = blobs(folder)
    assert len(found) > 15
    for content in found.values():
        assert "PRIVATE KEY" not in content
        assert not [secret for secret in secrets if secret.strip() in content]


def test_with_a_passphrase_private_keys_are_committed_and_encrypted(ampzero: Ampzero, tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text("correct horse battery\nsecond line\n")
    done = init(ampzero, tmp_path, "--passphrase-file", str(tmp_path / "passphrase"))
    assert done.code == 0, done.err
    assert "committed to git" in done.out
    folder = tmp_path / "kickass"
    tracked = set(git(folder, "ls-files").splitlines())
    assert {"ampnode/user-1.private.key", "ampnode/host-1.private.key"} <= tracked
    assert not [name for name in tracked if "control" in name or "server.key" in name]
    assert git(folder, "status", "--porcelain") == ""
    for name in KEYS:
        key = str(folder / f"ampnode/{name}.key")
        wrong = subprocess.run(["ssh-keygen", "-y", "-P", "", "-f", key], capture_output=True)
        right = subprocess.run(
            ["ssh-keygen", "-y", "-P", "correct horse battery", "-f", key], capture_output=True
        )
        assert (wrong.returncode != 0, right.returncode) == (True, 0), (wrong, right)
    assert not [content for content in blobs(folder).values() if "correct horse" in content]


def test_ssh_keygen_and_openssl_agree(ampzero: Ampzero, tmp_path: Path, isolated_home: Path) -> None:
    assert init(ampzero, tmp_path).code == 0
    folder = tmp_path / "kickass"
    for kind in ("user-1", "host-1"):
        key = subprocess.run(
            ["ssh-keygen", "-y", "-f", str(folder / f"ampnode/{kind}.private.key")],
            capture_output=True,
            check=True,
        )
        assert (
            " ".join(key.stdout.decode().split()[:2]) in (folder / f"ampnode/{kind}.public.key").read_text()
        )
    ca = isolated_home / "xdg_data_home/ampzero/ca/ca.pem"
    verify = ["openssl", "verify", "-x509_strict", "-CAfile", str(ca), str(folder / "nginx/server.cert")]
    assert subprocess.run(verify, capture_output=True).returncode == 0


def test_the_users_git_configuration_does_not_matter(ampzero: Ampzero, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "commit-msg", "post-commit", "post-checkout", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\nexit 1\n")
        (hooks / name).chmod(0o755)
    (tmp_path / "ignore").write_text("lib/\n*.yaml\n")
    config = tmp_path / "gitconfig"
    config.write_text(
        f"[core]\n\thooksPath = {hooks}\n\texcludesFile = {tmp_path}/ignore\n\tautocrlf = true\n"
        f"[init]\n\ttemplateDir = {hooks}\n\tdefaultBranch = other\n[commit]\n\tgpgSign = true\n"
        "[gpg]\n\tprogram = /bin/false\n[user]\n\tname = Ann\n\temail = ann@example.org\n"
    )
    env = {
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_DIR": str(tmp_path / "elsewhere"),
        "GIT_INDEX_FILE": "/nowhere",
    }
    place = tmp_path / "place"
    place.mkdir()
    done = ampzero("init", "kickass", "--yes", "--dir", place, "--set", f"root={tmp_path}/var", env=env)
    assert done.code == 0, done.err
    folder = place / "kickass"
    assert git(folder, "log", "-1", "--format=%an %ae") == "Ann ann@example.org"
    assert git(folder, "branch", "--show-current") == "main"
    assert "zerodata/lib/" in git(folder, "ls-files")
    assert "amprun.yaml" in git(folder, "ls-files")
    assert not (tmp_path / "hook-ran").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_settings(ampzero: Ampzero, tmp_path: Path) -> None:
    assert init(ampzero, tmp_path, "--set", "port=9443", "--set", "user=Jo").code == 0
    text = (tmp_path / "kickass/amprun.yaml").read_text()
    assert "port: 9443" in text
    assert f'amprun_root_directory: "{tmp_path}/var"' in text
    assert git(tmp_path / "kickass", "log", "-1", "--format=%an") == "Jo"


def test_ids_rise(ampzero: Ampzero, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        done = init(ampzero, tmp_path, name=f"app{number}")
        assert f"user-{number}, host-{number}" in done.out


def test_from_a_procfile(ampzero: Ampzero, tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("web: python -m http.server $PORT\nredis: redis-server --port $PORT\n")
    (tmp_path / ".env").write_text("A=1\n")
    done = init(ampzero, tmp_path, "--from", str(tmp_path / "Procfile"))
    assert done.code == 0, done.err
    from lib import loader

    services = loader.load_instance(str(tmp_path / "kickass")).config.services
    assert list(services) == ["web", "redis"]
    assert (services["web"].command, services["web"].cwd) == ("python -m http.server $PORT", "..")
    assert services["web"].env_file == "../.env"
    assert services["redis"].kind == "command"
    assert "https://" not in done.out  # nothing serves a page
    again = ampzero("init", "kickass", "--clobber", cwd=tmp_path)
    assert "nothing to change" in again.out, again


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["../x"], 2, "'../x' is not a name for an instance"),
        ([""], 2, "'' is not a name"),
        (["a" * 300], 2, "is not a name"),
        (["a" * 33], 2, "is not a name"),
        (["Kick"], 2, "is not a name"),
        (["a b"], 2, "is not a name"),
        (["."], 2, "is not a name"),
        (["a\nb"], 2, "is not a name"),
        (["there"], 7, "exists and is no instance"),
        (["dangling"], 7, "exists and is no instance"),
        (["file"], 7, "exists and is no instance"),
        (["good", "--dir", "nowhere"], 5, "no folder nowhere"),
        (["good", "--dir", "file"], 2, "file is not a folder"),
        (["good", "--dir", "/proc"], 8, "/proc"),
        (["good", "--set", "prt=1"], 2, "--set prt"),
        (["good", "--set", "port=0"], 2, "port"),
        (["good", "--set", "port=x"], 2, "port"),
        (["good", "--set", "hub=hub.example.org"], 2, "hub"),
        (["good", "--set", "root=/proc/nothing"], 8, "/proc/nothing"),
        (["good", "--set", "passphrase=secret"], 2, "passphrase"),
        (["good", "--from", "nofile"], 5, "no file"),
        (["good", "--from", "file"], 4, "file:1"),
        (["good", "--passphrase-file", "nofile"], 5, "nofile"),
        (["good", "--clobber"], 5, "no instance"),
        (["there", "--clobber"], 5, "no instance"),
    ],
)
def test_what_is_refused_changes_nothing(
    ampzero: Ampzero, tmp_path: Path, isolated_home: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there/file").touch()
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "file").write_text("not a Procfile")
    before = everything(tmp_path)
    place = [] if "--dir" in arguments else ["--dir", "."]
    root = [] if any(a.startswith("root=") for a in arguments) else ["--set", f"root={tmp_path}/var"]
    done = ampzero("init", *arguments, "--yes", *place, *root, cwd=tmp_path)
    assert done.code == code, done.err
    lines = done.err.splitlines()
    assert lines[0].startswith("ampzero: error: ")
    assert words in lines[0]
    assert len(lines) <= 2
    assert all(line.startswith("hint: ") for line in lines[1:])
    assert done.out == ""
    assert everything(tmp_path) == before
    assert not list(isolated_home.rglob("hub.sqlite"))


def test_an_instance_that_is_there(ampzero: Ampzero, tmp_path: Path) -> None:
    assert init(ampzero, tmp_path).code == 0
    before = git(tmp_path / "kickass", "rev-parse", "HEAD")
    done = init(ampzero, tmp_path)
    assert done.code == 7
    assert "--clobber" in done.err
    assert git(tmp_path / "kickass", "rev-parse", "HEAD") == before
    assert git(tmp_path / "kickass", "status", "--porcelain") == ""


def test_a_parent_that_may_not_be_written(tmp_path: Path) -> None:
    someone = Ampzero(as_user())
    folder = Path("/tmp") / f"ampzero-test-{os.getpid()}-{tmp_path.name}"  # noqa: S108 -- pytest's own is closed to others
    folder.mkdir(mode=0o755)
    try:
        home = folder / "home"
        home.mkdir()
        os.chown(home, NOBODY, NOBODY)
        env = {"HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_STATE_HOME": str(home)}
        done = someone("init", "kickass", "--yes", "--dir", folder, env=env, cwd=Path("/"))
        assert done.code == 8, done.err
        assert f"cannot write {folder}" in done.err
        assert "--dir" in done.err
        assert everything(folder) == {"home"}
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)
