"""A lab's hosts: what they have, what they cannot see, and their power, cables, disks and clocks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
from lab_support import MakeLab, left_of, over_ssh
from support import wait_for

from deploy.lab import Host, Lab, tools
from lib.errors import AmpzeroError, MissingError, NotReadyError, NotRunningError, TakenError, UsageError
from lib.programs.program import Program

pytestmark = pytest.mark.root

LIST_PROCESSES = r"""
import pathlib
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        print(folder.name, (folder / "cmdline").read_text().replace("\0", " "))
    except OSError:
        pass
"""


@pytest.fixture(scope="module")
def lab(make_module_lab: MakeLab) -> Lab:
    """Two hosts that no test changes for good."""
    return make_module_lab(2)


def processes_of(host: Host) -> list[tuple[int, str]]:
    """Pid and command line of all that runs on a host, as it sees it itself."""
    lines = host.run(["python3", "-I", "-"], LIST_PROCESSES).stdout.splitlines()
    return [(int(pid), command.strip()) for pid, _, command in (line.partition(" ") for line in lines)]


def test_a_host_has_the_systems_programs_and_its_own_empty_folders(lab: Lab) -> None:
    versions = over_ssh(
        lab,
        lab.hosts[0],
        "nginx -v; redis-server -v; python3 -c 'import sys; print(sys.version_info[:2] >= (3, 11))'",
    )
    assert versions.returncode == 0, versions
    assert "nginx version" in versions.stderr
    assert "Redis server" in versions.stdout
    assert "True" in versions.stdout
    assert over_ssh(lab, lab.hosts[0], "ls /opt /home /root /tmp /srv").stdout.split() == [
        "/home:", "/opt:", "/root:", "/srv:", "/tmp:",  # noqa: S108 -- the host's
    ]  # fmt: skip


def test_a_host_sees_neither_files_nor_processes_nor_variables_of_the_machine(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_MACHINE", "yes")
    (tmp_path / "seen").touch()
    host = lab.hosts[0]
    assert host.run(["test", "-e", str(tmp_path)], check=False).returncode == 1
    assert host.run(["test", "-e", str(Path(__file__))], check=False).returncode == 1
    assert "SECRET_OF_THE_MACHINE" not in host.run(["sh", "-c", "env; cat /proc/1/environ"]).stdout
    processes = [command for _, command in sorted(processes_of(host))]
    assert processes[0] == "/bin/sh /init"
    assert not [line for line in processes if "pytest" in line]
    assert len(processes) < 10


def test_hosts_reach_each_other_and_nothing_else(lab: Lab) -> None:
    one, two = lab.hosts
    assert over_ssh(lab, one, "hostname").stdout == "host-1\n"
    banner = "import socket, sys; print(socket.create_connection((sys.argv[1], 22), 30).recv(4))"
    for address in (two.address, two.name):
        assert one.run(["python3", "-c", banner, address]).stdout == "b'SSH-'\n"
    routes = json.loads(one.run(["ip", "-j", "route"]).stdout)
    assert [route["dst"] for route in routes] == [str(lab.network.subnet)]
    outside = one.run(["python3", "-c", banner, "192.0.2.1"], check=False)
    assert "Network is unreachable" in outside.stderr
    # A host's root could add a route by way of the machine, which would not follow it.
    forwarding = Path(f"/proc/sys/net/ipv4/conf/{lab.network.link}/forwarding").read_text()
    assert forwarding == "0\n"


def test_a_host_key_is_the_hosts_own_and_known(lab: Lab) -> None:
    keys = [host.run(["cat", "/etc/ssh/host_key.pub"]).stdout.split()[1] for host in lab.hosts]
    assert len(set(keys)) == 2
    lines = lab.login.known_hosts.read_text().splitlines()
    assert [line.split()[2] for line in lines] == keys
    assert lab.login.key.stat().st_mode & 0o777 == 0o600
    assert lab.record.disks.stat().st_mode & 0o777 == 0o700


def test_a_host_is_a_bastion_for_another(lab: Lab) -> None:
    one, two = lab.hosts
    assert over_ssh(lab, two, "hostname; echo $SSH_CLIENT", "-J", one.name).stdout.split()[:2] == [
        "host-2", one.address
    ]  # fmt: skip


def test_orphans_of_a_host_leave_no_zombie(lab: Lab) -> None:
    host = lab.hosts[0]
    host.run(["sh", "-c", "(true & true &) & exec true"])
    # A zombie has no command any more.
    assert wait_for(lambda: all(command for _, command in processes_of(host)))


def test_a_command_that_fails_or_takes_too_long_is_an_error(lab: Lab) -> None:
    with pytest.raises(AmpzeroError, match="host-1: sh ended with exit code 3: no"):
        lab.hosts[0].run(["sh", "-c", "echo no >&2; exit 3"])
    with pytest.raises(AmpzeroError, match="host-1: sleep did not end within"):
        lab.hosts[0].run(["sleep", "600"], timeout=0.2)
    assert wait_for(lambda: "sleep 600" not in [command for _, command in processes_of(lab.hosts[0])])
    with pytest.raises(UsageError, match="no host 'host-3'"):
        lab.host("host-3")


def test_a_power_cut_says_nothing_and_keeps_the_disk(make_lab: MakeLab) -> None:
    lab = make_lab(1)
    (host,) = lab.hosts
    written = ["/opt/file", "/etc/own", "/usr/local/own", "/var/lib/own", "/run/gone", "/tmp/gone"]  # noqa: S108 -- the host's
    host.run(["sh", "-c", 'useradd -m deployer && for f in "$@"; do echo kept >$f; done', "sh", *written])
    host.run(
        ["sh", "-c", "printf '#!/bin/sh\\ndate >/root/booted\\n' >/etc/rc.local; chmod +x /etc/rc.local"]
    )
    with socket.create_connection((host.address, 22), 30) as connection:
        assert connection.recv(4) == b"SSH-"
        host.kill()
        connection.setblocking(False)
        connection.recv(4096)  # the rest of its greeting
        with pytest.raises(BlockingIOError):
            connection.recv(1)
    assert lab.running() == set()
    assert host.path("/opt/file").read_text() == "kept\n"
    with pytest.raises(NotRunningError):
        host.run(["true"])
    with pytest.raises(NotRunningError):
        host.kill()
    host.boot()
    with pytest.raises(AmpzeroError, match="running already"):
        host.boot()
    assert wait_for(lambda: host.path("/root/booted").exists())
    there = over_ssh(lab, host, f"ls {' '.join(written)} 2>/dev/null; id -un deployer; ls /home")
    assert there.stdout.split() == [*sorted(written[:4]), "deployer", "deployer"]


def test_a_host_that_died_by_itself_boots_again(make_lab: MakeLab) -> None:
    (host,) = make_lab(1).hosts
    subprocess.run(["kill", "-9", str(host.init)], check=True)
    assert wait_for(lambda: not host.init)
    host.boot()
    assert host.run(["hostname"]).stdout == "host-1\n"


def test_a_cut_cable_leaves_the_console_and_stays_cut_over_a_boot(make_lab: MakeLab) -> None:
    lab = make_lab(1)
    (host,) = lab.hosts
    host.cut()
    for _ in range(2):
        assert host.is_cut
        with pytest.raises(OSError):
            socket.create_connection((host.address, 22), 0.3)
        assert host.run(["hostname"]).stdout == "host-1\n"
        host.kill()
        host.boot()
    host.mend()
    assert wait_for(lambda: over_ssh(lab, host, "true", "-o", "ConnectTimeout=5").returncode == 0)


def test_a_full_disk_is_full_and_stays_so_over_a_boot(make_lab: MakeLab) -> None:
    (host,) = make_lab(1, opt_size=1 << 20).hosts
    fill = ["dd", "if=/dev/zero", "of=/opt/big", "bs=64k", "count=32"]
    assert "No space left on device" in host.run(fill, check=False).stderr
    host.kill()
    host.boot()
    assert host.run(["stat", "-c", "%s", "/opt/big"]).stdout == f"{1 << 20}\n"
    host.run(["dd", "if=/dev/zero", "of=/root/big", "bs=64k", "count=32"])


def test_a_clock_can_be_off_for_python(make_lab: MakeLab) -> None:
    (host,) = make_lab(1).hosts
    ask = [
        "python3",
        "-I",
        "-c",
        "import time, datetime; print(time.time(), datetime.datetime.now().timestamp())",
    ]
    for offset in (3600.0, -86400.0, 0.0):
        host.set_clock(offset)
        for seen in map(float, host.run(ask).stdout.split()):
            assert abs(seen - datetime.now().timestamp() - offset) < 600


def test_a_boot_that_fails_says_why(make_lab: MakeLab) -> None:
    (host,) = make_lab(1).hosts
    host.run(["sh", "-c", "echo Nonsense yes >>/etc/ssh/sshd_config"])
    host.kill()
    with pytest.raises(NotReadyError, match=r"host-1 does not boot: .*Nonsense"):
        host.boot()
    assert not host.init


def test_delay_and_loss_work_or_the_error_names_the_missing_module(make_lab: MakeLab) -> None:
    try:
        lab = make_lab(2, rtt=0.05)
    except MissingError as error:
        assert "sch_netem" in error.message
        return
    measured = (
        "import socket, sys, time; began = time.monotonic();"
        "socket.create_connection((sys.argv[1], 22)); print(time.monotonic() - began)"
    )
    host, other = lab.hosts
    for address in (other.address, str(lab.network.subnet[1])):
        took = float(host.run(["python3", "-c", measured, address], check=False).stdout or 1)
        assert took >= 0.05


def test_two_labs_know_nothing_of_each_other(make_lab: MakeLab) -> None:
    one, two = make_lab(1), make_lab(1)
    assert not one.network.subnet.overlaps(two.network.subnet)
    reach = "import socket, sys; socket.create_connection((sys.argv[1], 22), 30)"
    assert (
        "unreachable" in one.hosts[0].run(["python3", "-c", reach, two.hosts[0].address], check=False).stderr
    )


def test_down_leaves_nothing(make_lab: MakeLab) -> None:
    lab = make_lab(2, opt_size=1 << 20)
    lab.hosts[0].run(["sh", "-c", "nohup sleep 600 >/dev/null 2>&1 &"])
    lab.hosts[1].kill()
    assert left_of(lab.name)
    lab.down()
    assert left_of(lab.name) == []
    assert not Path("/sys/class/net", lab.network.link).exists()
    lab.down()


def test_a_name_and_a_subnet_are_taken_once(make_lab: MakeLab) -> None:
    lab = make_lab(1)
    with pytest.raises(TakenError, match="already"):
        Lab.make(lab.name, 1)
    with pytest.raises(TakenError, match="in use"):
        Lab.make(f"{lab.name}-b", 1, subnet=str(lab.network.subnet))
    with pytest.raises(TakenError, match="belongs to process"):
        Lab.find(lab.name).down()
    assert lab.running() == {"host-1"}


@pytest.mark.parametrize("name", ["", "Lab", "a.b", "../etc", "-x", "a" * 32])
def test_a_name_that_would_not_do_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no name for a lab"):
        Lab.make(name, 1)


def test_modes_on_a_host_do_not_depend_on_the_makers_umask(make_lab: MakeLab) -> None:
    before = os.umask(0o077)
    try:
        lab = make_lab(1)
    finally:
        os.umask(before)
    own = {"/": "755", "/home": "755", "/opt": "755", "/root": "700", "/run": "755"}
    machines = {
        path: f"{Path(path).stat().st_mode & 0o7777:o}" for path in ("/etc", "/usr", "/usr/local", "/var/log")
    }
    expected = own | machines
    assert lab.hosts[0].run(["stat", "-c", "%a", *expected]).stdout.split() == list(expected.values())
    assert lab.hosts[0].run(["su", "-s", "/bin/sh", "nobody", "-c", "cat /etc/hostname"]).stdout == "host-1\n"


def test_a_program_that_is_missing_is_named(lab_machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Program(
        "no-such-tool", ("no-such-tool",), dict.fromkeys(("apt", "dnf", "brew"), "tool-package")
    )
    monkeypatch.setattr(tools, "NEEDED", (*tools.NEEDED, missing))
    with pytest.raises(MissingError, match=r"programs that are not here: no-such-tool$") as raised:
        Lab.make("never", 1)
    assert "no-such-tool" in raised.value.hint or "tool-package" in raised.value.hint


@pytest.mark.parametrize(("answer", "has"), [("False 3.9.1", r"is 3\.9\.1"), ("", "is not there")])
def test_hosts_need_a_python_of_the_system(
    lab_machine: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str, has: str
) -> None:
    if answer:
        (tmp_path / "python3").write_text(f"#!/bin/sh\necho {answer}\n")
        (tmp_path / "python3").chmod(0o755)
    monkeypatch.setattr(tools, "PATH", str(tmp_path))
    with pytest.raises(MissingError, match=f"must be 3.11 or newer, and {has}"):
        Lab.make("never", 1)
