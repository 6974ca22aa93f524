"""`ampzero doctor` as installed; it installs through stand-ins that only write down what they are told."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import unused_port

AMPZERO = Path(sys.executable).parent / "ampzero"


def doctor(
    *arguments: str, path: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": path or os.environ["PATH"]}
    return subprocess.run(
        [AMPZERO, "doctor", *arguments], env=environment, cwd=cwd, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def instance(folder: Path, services: str = "redis: {}, nginx: {}", port: int | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "amprun.yaml").write_text(
        f"name: checked\namprun_root_directory: {folder}/var\nport: {port or unused_port()}\n"
        f"services: {{{services}}}\n"
    )
    return folder


@pytest.fixture
def manager(tmp_path: Path) -> Path:
    """A PATH with nothing but a package manager (and what it is run with) that notes its arguments."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("apt-get", "sudo", "install", "env", "rm"):
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/told\n')
        (tools / name).chmod(0o755)
    return tools


def test_what_an_instance_needs(tmp_path: Path) -> None:
    answer = doctor(str(instance(tmp_path / "it")), "--json")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    names = [check["name"] for check in found["checks"]]
    assert found["ok"] is True
    assert {"Python", "library click", "git", "openssl", "redis-server", "nginx", "root directory"} <= set(
        names
    )
    assert "etcd" not in names, "no keyspace in it"


def test_for_people_it_shows_versions_and_places(tmp_path: Path) -> None:
    answer = doctor(str(instance(tmp_path / "it")))
    assert answer.returncode == 0
    line = next(line for line in answer.stdout.splitlines() if "redis-server" in line)
    assert line.startswith("ok")
    assert "/redis-server)" in line


def test_what_is_missing_with_its_command(tmp_path: Path, manager: Path) -> None:
    it = instance(tmp_path / "it", "redis: {}")
    answer = doctor(str(it), "--json", path=str(manager))
    assert answer.returncode == 5
    found = json.loads(answer.stdout)
    assert found["ok"] is False
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    assert found["install"][: len(sudo) + 1] == [*sudo, "apt-get"]
    assert "redis-server" in found["install"]
    (redis,) = (check for check in found["checks"] if check["name"] == "redis-server")
    assert redis["fix"].endswith("apt-get install -y --no-install-recommends redis-server")
    assert not (tmp_path / "told").exists(), "nothing is installed unasked"


def test_install_runs_the_command_and_looks_again(tmp_path: Path, manager: Path) -> None:
    it = instance(tmp_path / "it", "redis: {}")
    answer = doctor(str(it), "--install", path=str(manager))
    assert answer.returncode == 5, "the stand-in installs nothing, and doctor does not believe it"
    told = (tmp_path / "told").read_text()
    assert "apt-get update" in told
    assert "install -y --no-install-recommends git openssl redis-server" in told


def test_a_taken_port_names_its_holder(tmp_path: Path) -> None:
    port = unused_port()
    with socket.create_server(("127.0.0.1", port)):
        answer = doctor(str(instance(tmp_path / "it", port=port)))
    assert answer.returncode == 7
    assert f"pid {os.getpid()}" in answer.stdout


def test_a_bad_configuration_is_its_own_error(tmp_path: Path) -> None:
    answer = doctor(str(instance(tmp_path / "it", "redis: {colour: red}")))
    assert answer.returncode == 4
    assert answer.stderr.startswith("ampzero: error: ")
    assert "services.redis" in answer.stderr


def test_no_such_instance() -> None:
    answer = doctor("no-such-instance")
    assert answer.returncode == 5
    assert "hint: make one with: ampzero init no-such-instance" in answer.stderr
