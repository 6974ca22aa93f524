"""What deployment.yaml may ask for, on hosts of a lab: canary, hooks, secrets, thresholds, damage."""

from __future__ import annotations

import stat

import pytest
from deploy_trials import LONG, POLICY, Trial, attempt, reaches, state
from fleet_support import MODULE
from support import wait_for

from deploy.lab import Host

pytestmark = pytest.mark.root
DIST = "/opt/ampzero/dist"
BROKEN = "import os\nos._exit(3)\n"
"""A module that only raises is answered with an error page by ampnode; this ends its process."""


def journal(host: Host) -> str:
    return host.path("/opt/ampzero/state/journal").read_text()


@pytest.mark.slow
def test_a_canary_that_fails_is_the_only_host_that_ever_had_the_release(trial: Trial) -> None:
    site, old = trial.site, trial.version
    site.configure(policy={**POLICY, "health_deadline": "5s"}, canary={"hosts": 1, "bake": "1s"})
    site.commit("ampnode/services/version.py", BROKEN)
    before = trial.sequence
    assert "rolled back" in site.deploy(code=1).err
    trial.settle(old)
    canary, *others = site.lab.hosts
    assert f'"sequence":{before},"state":"STARTING"' in journal(canary)
    assert not any(f'"sequence":{before},"state":"DURABLE"' in journal(host) for host in others)
    site.configure(policy=POLICY, canary={"hosts": 1, "bake": "1s"})
    trial.deploy()
    site.configure(policy=POLICY)
    trial.deploy()


@pytest.mark.slow
def test_a_host_on_which_the_release_fails_stays_closed_until_only_failed_mends_it(trial: Trial) -> None:
    site = trial.site
    site.configure(policy={**POLICY, "min_ready": "66%", "health_deadline": "5s"})
    version = trial.next()
    condition = (
        "import os, socket\nif socket.gethostname() == 'host-3' and not os.path.exists('/opt/well'):\n"
    )
    source = f"{condition}    os._exit(3)\n{MODULE.format(version=version)}"
    site.commit("ampnode/services/version.py", source)
    done = site.deploy(code=3)
    assert "host-3" in done.err and "--only-failed" in done.err
    one, two, bad = site.lab.hosts
    assert [site.serves(host) for host in (one, two, bad)] == [version, version, "closed"]
    assert site.hosts()["host-3"]["state"] == "closed"
    bad.run(["touch", "/opt/well"])
    done = site.ampzero("deploy", ".", "--only-failed")
    assert done.code == 0, done.err
    trial.settle(version)
    site.configure(policy=POLICY)
    trial.deploy()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hooks", "said"),
    [
        ({"pre_deploy": ["sh", "-c", "echo of-a-hook; exit 4"]}, "pre_deploy ended with exit code 4"),
        ({"pre_update": ["sh", "-c", "echo on-$AMPZERO_HOST; exit 5"]}, "pre_update ended with exit code 5"),
        ({"pre_update": ["sleep", "600"], "timeout": "1s"}, "1 s"),
    ],
)
def test_a_hook_that_fails_or_hangs_changes_nothing(
    trial: Trial, hooks: dict[str, object], said: str
) -> None:
    site = trial.site
    site.configure(policy=POLICY, hooks=hooks)
    trial.next()
    done = site.deploy(code=1)
    assert said in done.err, done.err
    assert "600" in str(hooks) or "of-a-hook" in done.err or "on-host-2" in done.err
    assert site.served() == {trial.version}
    assert trial.ended()
    site.configure(policy=POLICY)


@pytest.mark.slow
def test_hooks_know_what_is_deployed_where(trial: Trial) -> None:
    site = trial.site
    pre = ["sh", "-c", "echo $AMPZERO_RELEASE $AMPZERO_ENVIRONMENT $AMPZERO_HOST > /opt/ampzero/said"]
    site.configure(
        policy=POLICY, hooks={"pre_update": pre, "post_deploy": ["sh", "-c", "echo $AMPZERO_HOSTS"]}
    )
    trial.version = trial.next()
    done = site.deploy()
    assert "| host-1 host-2 host-3" in done.err
    release = site.hosts()["host-2"]["current"]["release"]
    assert site.lab.hosts[1].path("/opt/ampzero/said").read_text().split() == [release, "lab", "host-2"]
    site.configure(policy=POLICY)


def test_a_configuration_that_nginx_refuses_is_switched_nowhere(trial: Trial) -> None:
    site = trial.site
    place = site.folder / "nginx/nginx.conf"
    before = place.read_text() if place.exists() else None
    site.commit("nginx/nginx.conf", "events {}\nhttp { no_such_directive; }\n")
    done = site.ampzero("deploy", ".", "--yes")
    assert done.code and "nothing was switched" in done.err, done.err
    assert "nginx" in done.err
    assert site.served() == {trial.version} and trial.ended()
    if before is None:
        place.unlink()
        site.commit("README.md", "back\n")
    else:
        site.commit("nginx/nginx.conf", before)


def test_secrets_are_0600_renewed_without_a_commit_and_in_no_record(trial: Trial) -> None:
    site = trial.site
    (site.folder / ".env").write_text("WORD=xyzzy-first\n")
    site.configure(policy=POLICY, secrets=[".env"])
    first = trial.next()
    trial.version = first
    said = site.deploy()
    (site.folder / ".env").write_text("WORD=xyzzy-second\n")
    again = site.deploy()
    assert "nothing to deploy" not in again.out, "new secrets are something to deploy"
    for host in site.lab.hosts:
        place = host.path(f"{DIST}/secrets")
        folder = place.parent / place.readlink()
        assert (folder / ".env").read_text() == "WORD=xyzzy-second\n"
        assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert host.run(["cat", f"{DIST}/instance/.env"]).stdout == "WORD=xyzzy-second\n"
        records = [path for path in host.path("/opt/ampzero/state").rglob("*") if path.is_file()]
        records += [path for path in host.path("/opt/ampzero/var").rglob("*.log*") if path.is_file()]
        assert records
        assert not [path for path in records if b"xyzzy" in path.read_bytes()]
    assert "xyzzy" not in said.out + said.err + again.out + again.err
    trial.settle(first)
    site.configure(policy=POLICY)
    trial.deploy()


@pytest.mark.slow
def test_a_host_whose_kept_tar_is_damaged_gets_the_whole_archive(trial: Trial) -> None:
    site = trial.site
    for tar in site.lab.hosts[1].path(f"{DIST}/tars").iterdir():
        with tar.open("r+b") as stream:
            stream.seek(700)
            byte = stream.read(1)
            stream.seek(700)
            stream.write(bytes([byte[0] ^ 1]))
    trial.version = trial.next()
    done = site.ampzero("deploy", ".", "--yes", timeout=LONG)
    if done.code:
        assert "host-2" in done.err and "nothing was switched" in done.err, done.err
        done = site.deploy()
    trial.settle(trial.version)


@pytest.mark.slow
def test_a_patch_that_was_damaged_on_its_way_is_never_unpacked(trial: Trial) -> None:
    site, host = trial.site, trial.site.lab.hosts[0]
    sequence, version = trial.sequence, trial.next()
    blobs = host.path(f"{DIST}/patches")

    def damage() -> bool:
        for blob in blobs.iterdir() if blobs.is_dir() else ():
            blob.write_bytes(bytes(byte ^ 1 for byte in blob.read_bytes()))
            return True
        return reaches(host, sequence, "PREPARED")

    with attempt(site) as going:
        assert wait_for(lambda: damage() or going.process.poll() is not None, LONG, 0.001)
        code = going.end()
    if code:
        assert "host-1" in going.said and "nothing was switched" in going.said, going.said
        assert site.served() == {trial.version}
        site.deploy()
    trial.settle(version)


@pytest.mark.slow
def test_one_host_alone_and_hosts_that_leave_and_join(trial: Trial) -> None:
    site = trial.site
    old, new = trial.version, trial.next()
    hosts = site.lab.hosts
    site.deploy("--host", "host-1")
    assert [site.serves(host) for host in hosts] == [new, old, old]
    before = state(hosts[2])
    listed = [{"name": host.name, "address": f"root@{host.address}"} for host in hosts]
    site.configure(policy=POLICY, hosts=listed[:2])
    newer = trial.next()
    site.deploy()
    assert [site.serves(host) for host in hosts] == [newer, newer, old]
    assert state(hosts[2]) == before
    site.configure(policy=POLICY)
    trial.deploy()
