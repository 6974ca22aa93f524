"""What a newcomer types on a bare Debian: the demo, the set-up of the tests, doctor --install."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from bare_support import Machine

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

POLICY = "usr/sbin/policy-rc.d"
PROGRAMS = {"nginx": "nginx", "redis-server": "redis-server", "etcd": "etcd-server", "git": "git"}


@pytest.fixture
def bare(make_machine: Callable[[], Machine]) -> Machine:
    """Up, and nothing of ours in it."""
    machine = make_machine()
    machine.boot()
    return machine


def instance_processes(machine: Machine) -> list[str]:
    """The command lines of what runs there for an instance."""
    listed = machine.must("sh", "-c", r"for p in /proc/[0-9]*; do tr '\0' ' ' <$p/cmdline; echo; done 2>&1")
    return [line for line in listed.splitlines() if re.search("ampzero/var|redis-server|etcd|nginx:", line)]


def typed(machine: Machine, user: str, answers: Mapping[str, str], *words: str, seconds: float = 300) -> str:
    """What a person sees who types this at a terminal and gives these answers to what is asked; its code."""
    child, terminal = pty.fork()
    if child == 0:
        # A terminal of the machine's own: sudo remembers a password for a terminal that it can name.
        argv = machine.argv("script", "-qec", shlex.join(words), "/dev/null", user=user)
        os.execvp(argv[0], argv)  # noqa: S606 -- no shell is wanted
    seen = answered = b""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and select.select([terminal], [], [], 60)[0]:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # what it says when the other end is closed
            break
        seen, answered = seen + part, answered + part
        for asked, answer in answers.items():
            if asked.encode() in answered:
                os.write(terminal, answer.encode() + b"\n")
                answered = b""
    os.close(terminal)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return f"{seen.decode(errors='replace')}\nexit {code}\n"


def test_the_demo_as_root_from_an_archive_and_again(bare: Machine, clean_tool: Path) -> None:
    place = bare.copy(clean_tool)
    bare.must("rm", "-rf", f"{place}/.git")
    done = bare.run(f"{place}/scripts/demo", "--yes", timeout=600)
    assert done.code == 0, done.err
    assert "kickass is ready: https://localhost:" in done.out
    assert "Installing: python3 python3-venv\n" in done.err
    assert "Installing: git nginx redis-server etcd-server\n" in done.err
    assert "debconf" not in done.err
    assert not (bare.root / POLICY).exists()

    again = bare.run(f"{place}/scripts/demo")
    assert again.code == 0
    assert "kickass is already running." in again.err
    assert "Installing" not in again.err
    stop = re.search(r"^  stop +(.*)$", again.out, re.MULTILINE)
    assert stop
    bare.must("sh", "-c", f"cd {place} && {stop[1]}")
    assert instance_processes(bare) == []


def test_the_demo_as_a_user_whom_sudo_asks_for_a_password(bare: Machine, clean_tool: Path) -> None:
    bare.install("sudo", "git")
    for user in ("joe", "ann"):
        bare.must("useradd", "-m", "-s", "/bin/bash", user)
    bare.must("sh", "-c", "usermod -aG sudo joe; printf 'joe:secret\\nann:secret\\n' | chpasswd")
    place = bare.copy(clean_tool, "joe")
    answers = {"password for joe: ": "secret", "[Y/n] ": ""}

    alone = bare.run(f"{place}/scripts/demo", user="joe")
    assert alone.code == 5, "sudo can ask nobody"
    assert "This user is not root, and cannot use sudo here." in alone.err
    assert "hint: as root: apt-get install --no-install-recommends python3 python3-venv\n" in alone.err
    assert "command not found" not in alone.err

    seen = typed(bare, "joe", answers, f"{place}/scripts/demo")
    assert "exit 0" in seen, seen
    assert "password is required" not in seen
    assert seen.index("Install one with apt? [Y/n]") < seen.index("password for joe")
    assert seen.count("password for joe") == 1
    assert not (bare.root / POLICY).exists()
    bare.must(f"{place}/.venv/bin/ampzero", "stop", "kickass", user="joe")

    bare.must("apt-get", "purge", "-y", "-qq", "nginx")
    place = bare.copy(clean_tool, "ann")
    refused = typed(bare, "ann", {"password for ann: ": "secret", "[Y/n] ": ""}, f"{place}/scripts/demo")
    assert "exit 5" in refused
    assert (
        "hint: as root: apt-get install --no-install-recommends nginx; then run scripts/demo again" in refused
    )


def test_doctor_finds_and_installs_what_is_missing(bare: Machine, clean_tool: Path) -> None:
    place = bare.copy(clean_tool)
    setup = f". {place}/scripts/common.sh; yes=1; need_venv pretty"
    bare.must("bash", "-euo", "pipefail", "-c", setup, timeout=600)
    doctor = f"{place}/.venv/bin/ampzero"
    assert bare.run(doctor, "doctor").code == 5
    done = bare.run(doctor, "doctor", "--install")
    assert done.code == 0, done.err
    for program, package in PROGRAMS.items():
        bare.must("apt-get", "purge", "-y", "-qq", package)
        missing = bare.run(doctor, "doctor")
        assert missing.code == 5
        assert f"apt-get install -y --no-install-recommends {package}" in missing.out
        done = bare.run(doctor, "doctor", "--install", "--yes")
        assert done.code == 0, done.err
        assert not (bare.root / POLICY).exists()
        assert bare.must("sh", "-c", f"command -v {program}")
    assert instance_processes(bare) == [], "no service of a package was started"


def test_the_set_up_of_the_tests_as_a_user_with_sudo(bare: Machine, clean_tool: Path) -> None:
    bare.install("sudo")
    bare.must("useradd", "-m", "-s", "/bin/bash", "joe")
    (bare.root / "etc/sudoers.d/joe").write_text("joe ALL=(ALL) NOPASSWD: ALL\n")
    place = bare.copy(clean_tool, "joe")
    done = bare.run(f"{place}/scripts/test", "--collect-only", "-q", user="joe", timeout=800)
    assert done.code == 0, done.err + done.out[-2000:]
    assert "Could not install" not in done.err
    again = bare.run(f"{place}/scripts/test", "--collect-only", "-q", user="joe")
    assert (again.code, again.err) == (0, "")
