"""Hosts that are reached only through a bastion (ProxyJump), and logins that are not root's."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest
from deploy_trials import POLICY, state
from fleet_support import Site, make_site, shared_cache
from lab_support import MakeLab

from deploy.lab import Host

pytestmark = pytest.mark.root


def hide(host: Host) -> None:
    """Have a host answer nobody but the other hosts: this machine's words to it are lost."""
    machine = host.network.subnet.network_address + 1
    host.run(["ip", "route", "add", "blackhole", f"{machine}/32"])


def answers(host: Host) -> bool:
    try:
        socket.create_connection((host.address, 22), 2).close()
    except OSError:
        return False
    return True


@pytest.mark.slow
def test_hosts_behind_a_bastion_are_deployed_to_through_it(
    make_lab: MakeLab, clean_tool: Path, tmp_path: Path
) -> None:
    site: Site = make_site(tmp_path, clean_tool, make_lab(3), shared_cache())
    bastion, *hidden = site.lab.hosts
    config = tmp_path / "ssh_config"
    config.write_text(
        f"Host {' '.join(host.address for host in hidden)}\n  ProxyJump root@{bastion.address}\n"
    )
    login = site.lab.login
    ssh = {"key": str(login.key), "known_hosts": str(login.known_hosts), "config": str(config)}
    listed = [{"name": host.name, "address": f"root@{host.address}"} for host in hidden]
    site.configure(policy=POLICY, ssh=ssh, hosts=listed)
    for host in hidden:
        hide(host)
    assert answers(bastion) and not any(map(answers, hidden))

    done = site.ampzero("deploy", ".", "--setup")
    assert done.code == 0, done.err
    site.deploy()
    for host in hidden:
        url = f"https://{host.address}:{site.port}/version/"
        assert bastion.run(["curl", "-sk", url]).stdout == "one"
        assert state(host)[1] == "FINISHED"
    assert not bastion.path("/opt/ampzero").exists(), "it only passes on"
    assert {name: host["state"] for name, host in site.hosts().items()} == {
        "host-2": "open", "host-3": "open"
    }  # fmt: skip
    bastion.kill()
    done = site.ampzero("deploy", ".", "--dry-run")
    assert done.code == 12 and bastion.address in done.err, done.err


def let_in(site: Site, host: Host, sudoers: str) -> str:
    """A user of a host who is not root, logs in with the lab's key, and may by sudo what `sudoers` says."""
    public = site.lab.login.key.with_suffix(".pub").read_text()
    host.run(["useradd", "--create-home", "--shell", "/bin/sh", "carol"])
    host.run(["install", "-d", "-m", "700", "-o", "carol", "/home/carol/.ssh"])
    host.run(["sh", "-c", "cat > /home/carol/.ssh/authorized_keys"], public)
    host.run(["chown", "carol", "/home/carol/.ssh/authorized_keys"])
    host.run(["sh", "-c", "umask 227; cat > /etc/sudoers.d/carol"], sudoers)
    return f"carol@{host.address}"


@pytest.mark.skipif(shutil.which("sudo") is None, reason="no sudo on this machine, so none on hosts")
def test_a_login_with_sudo_sets_up_and_deploys_and_one_without_is_told(
    make_lab: MakeLab, clean_tool: Path, tmp_path: Path
) -> None:
    site: Site = make_site(tmp_path, clean_tool, make_lab(2), shared_cache())
    one, two = site.lab.hosts
    listed = [
        {"name": "host-1", "address": let_in(site, one, "carol ALL=(ALL) NOPASSWD: ALL\n")},
        {"name": "host-2", "address": let_in(site, two, "carol ALL=(ALL) ALL\n")},
    ]
    site.configure(policy=POLICY, hosts=listed)
    done = site.ampzero("deploy", ".", "--setup")
    assert done.code == 3, done.err
    assert "host-2: its login has not root's rights, and sudo says: a password is required" in done.err
    assert "NOPASSWD" in done.err
    assert not two.path("/opt/ampzero").exists()

    site.configure(policy=POLICY, hosts=listed[:1])
    site.deploy()
    assert site.serves(one) == "one"
    uid = one.run(["id", "-u", "ampzero"]).stdout.strip()
    assert {str(path.lstat().st_uid) for path in one.path("/opt/ampzero").rglob("*")} == {uid}
    assert site.ampzero("logs", ".", "--env", "lab", "-n", "5").code == 0

    one.run(["rm", "/etc/sudoers.d/carol"])
    site.change("two")
    done = site.ampzero("deploy", ".", "--yes")
    assert done.code == 12 and "a password is required" in done.err, done.err
    assert site.serves(one) == "one"
