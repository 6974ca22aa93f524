"""A keyspace of three hosts that deployment.yaml names: a deploy makes it, and it bears the loss of one."""

from __future__ import annotations

import shutil
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deploy_trials import POLICY
from fleet_support import AMPRUN, NODE, Site, make_site, shared_cache
from lab_support import MakeLab
from support import Result, wait_for

from deploy import keyspaceauthority
from deploy.lab import Host

pytestmark = pytest.mark.root
STATE = "/opt/ampzero/var/shop/state"
MEMBERS = ["host-1", "host-2", "host-3"]
BEARS_ONE = {**POLICY, "min_ready": "75%"}


def keyspace(host: Host, *words: str) -> Result:
    """`ampzero keyspace` typed at a host's console."""
    argv = ["/opt/ampzero/dist/ampify/bin/ampzero", "keyspace", "-i", "/opt/ampzero/dist/instance", *words]
    done = host.run(["env", "AMPZERO_ROOT=/opt/ampzero/var", *argv], check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def can_write(host: Host, word: str) -> bool:
    return keyspace(host, "set", "word", word).code == 0


def can_read(host: Host, word: str) -> bool:
    return keyspace(host, "get", "word").out == f"{word}\n"


def curl(host: Host, member: Host, *options: str) -> str:
    """What a host gets from a member of the keyspace; nothing where it is refused."""
    argv = ["curl", "-s", "-m", "5", *options, f"https://{member.address}:2379/version"]
    return host.run(argv, check=False).stdout


@pytest.fixture
def site(make_lab: MakeLab, clean_tool: Path, tmp_path: Path) -> Site:
    """Four hosts with a release, the first three of which have the keyspace."""
    made = make_site(tmp_path, clean_tool, make_lab(4), shared_cache())
    text = AMPRUN.format(port=made.port)
    (made.folder / "amprun.yaml").write_text(text + "  keyspace: {}\n")
    (made.folder / "ampnode/ampnode.yaml").write_text(NODE)
    made.configure(policy=POLICY, keyspace={"hosts": MEMBERS}, canary={"hosts": 1, "bake": "0s"})
    done = made.ampzero("deploy", ".", "--setup")
    assert done.code == 0, done.err
    made.deploy()
    assert made.served() == {"one"}
    return made


def test_three_hosts_run_the_keyspace_and_it_bears_the_loss_of_one(site: Site) -> None:
    one, two, three, four = site.lab.hosts
    assert can_write(one, "first")
    assert all(can_read(host, "first") for host in site.lab.hosts)
    assert not list(Path(four.path("/opt/ampzero/var/shop/data")).glob("keyspace/member"))

    two.kill()
    assert wait_for(lambda: can_write(four, "second"))
    assert can_read(three, "second")
    site.configure(policy=BEARS_ONE, keyspace={"hosts": MEMBERS})
    site.change("two")
    done = site.deploy(code=3)
    assert "host-2" in done.err  # left out, as min_ready bears it
    assert "3 of 4 hosts" in done.out
    assert "--only-failed" in done.err
    assert [site.serves(host) for host in (one, three, four)] == ["two"] * 3
    assert can_write(one, "third")

    two.boot()
    assert site.ampzero("deploy", ".", "--only-failed").code == 0
    assert site.served() == {"two"}
    three.kill()
    assert wait_for(lambda: can_write(four, "fourth")), "the member that came back counts again"
    assert can_read(two, "fourth")


@pytest.mark.slow
def test_strangers_are_refused_and_so_are_other_members_in_the_file(site: Site, tmp_path: Path) -> None:
    one, two, _, four = site.lab.hosts
    own = [f"{STATE}/keyspace/{name}" for name in ("ca.pem", "client.pem", "client.key")]
    assert "etcdserver" in curl(four, one, "--cacert", own[0], "--cert", own[1], "--key", own[2])
    assert curl(four, one, "--cacert", own[0]) == ""
    stranger = keyspaceauthority.make(tmp_path / "strange", "strange")
    for name, text in zip(("client.pem", "client.key"), stranger.client(datetime.now(UTC)), strict=True):
        four.path(f"/root/{name}").write_text(text)
    theirs = ["--cert", "/root/client.pem", "--key", "/root/client.key"]
    assert curl(four, one, "--cacert", own[0], *theirs) == ""
    assert curl(four, one, "-k", *theirs) == ""

    for host in site.lab.hosts:
        folder = host.path(STATE) / "keyspace"
        files = sorted(path for path in (folder.parent / folder.readlink()).iterdir())
        names = {path.name for path in files}
        assert {name for name in names if name.startswith("member")} == (
            set() if host is four else {"member.key", "member.pem"}
        )
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    keys = {host.path(f"{STATE}/keyspace").resolve().joinpath("client.key").read_text()
            for host in (one, two, four)}  # fmt: skip
    assert len(keys) == 3, "each host has its own"

    site.configure(policy=POLICY, keyspace={"hosts": ["host-1", "host-2", "host-4"]})
    done = site.ampzero("deploy", ".", "--yes")
    assert done.code == 4 and "host-1, host-2, host-3" in done.err and "docs/keyspace.md" in done.err
    site.configure(policy=POLICY)
    assert site.ampzero("deploy", ".", "--yes").code == 4, "nor are they forgotten"
    assert site.served() == {"one"} and can_write(one, "still")


@pytest.mark.slow
def test_certificates_that_end_soon_are_renewed_where_the_ca_is(site: Site, tmp_path: Path) -> None:
    four = site.lab.hosts[3]
    data = site.home / "data/ampzero"
    (token,) = [each.name for each in (data / "keyspaces").iterdir()]
    authority = keyspaceauthority.find(data, token)
    assert authority is not None
    assert "nothing to deploy" in site.deploy().out
    place = four.path(f"{STATE}/keyspace")
    folder = place.parent / place.readlink()
    two_thirds = timedelta(days=keyspaceauthority.LEAF_DAYS * 0.7)
    old = authority.client(datetime.now(UTC) - two_thirds)
    (folder / "client.pem").write_text(old[0])
    (folder / "client.key").write_text(old[1])
    elsewhere = replace(site, home=tmp_path / "second")
    elsewhere.home.mkdir()
    (elsewhere.home / "cache").symlink_to(shared_cache())
    assert "nothing to deploy" not in elsewhere.deploy().out, "it is due, and the CA is not there"
    assert (place.parent / place.readlink() / "client.pem").read_text() == old[0]
    site.deploy()
    assert (place.parent / place.readlink() / "client.pem").read_text() != old[0]
    assert can_write(four, "renewed")
    assert "nothing to deploy" in site.deploy().out

    shutil.rmtree(place.parent / place.readlink())
    done = elsewhere.ampzero("deploy", ".", "--yes")
    assert done.code == 5 and str(elsewhere.home / "data/ampzero/keyspaces" / token) in done.err
    site.deploy()
    assert can_write(four, "again")


def etcdctl(host: Host, *words: str) -> str:
    """What etcd's own tool says at a host's console."""
    own = [f"--{option}={STATE}/keyspace/{name}" for option, name in
           (("cacert", "ca.pem"), ("cert", "client.pem"), ("key", "client.key"))]  # fmt: skip
    argv = ["env", "ETCDCTL_API=3", "etcdctl", f"--endpoints=https://{host.address}:2379", *own, *words]
    return host.run(argv).stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("etcdctl") is None, reason="no etcdctl on this machine (etcd-client)")
def test_a_member_on_a_new_disk_is_refused_until_etcd_was_told_and_then_joins(site: Site) -> None:
    one, two, _, four = site.lab.hosts
    assert can_write(one, "kept")
    two.kill()
    shutil.rmtree(two.path("/opt/ampzero"))
    two.boot()
    assert site.ampzero("deploy", ".", "--setup", "--host", "host-2").code == 0
    done = site.ampzero("deploy", ".", "--yes")
    assert done.code == 11 and "host-2: it is a member of the keyspace" in done.err, done.err
    assert "docs/keyspace.md" in done.err

    lines = etcdctl(one, "member", "list").splitlines()
    (number,) = [line.split(",")[0] for line in lines if two.address in line]
    etcdctl(one, "member", "remove", number)
    etcdctl(one, "member", "add", "host-2", f"--peer-urls=https://{two.address}:2380")
    site.deploy()
    assert site.served() == {"one"}
    assert can_read(two, "kept")
    one.kill()
    assert wait_for(lambda: can_write(four, "on")), "the new member counts"
