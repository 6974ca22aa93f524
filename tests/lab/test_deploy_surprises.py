"""What happens to a host in the midst of a deploy, after all was checked: its disk fills, its clock jumps."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import pytest
from deploy_trials import LONG, POLICY, Trial, attempt, reaches
from fleet_support import Site, make_site, shared_cache, users
from lab_support import MakeLab
from support import wait_for

from deploy.lab import Host

pytestmark = pytest.mark.root
ROOM = 700 * 2**20
LARGE = 64 * 2**20


def fill(host: Host) -> Path:
    """Have nothing left of a host's /opt, at once; the file that did it."""
    hog = host.path("/opt/hog")
    with hog.open("wb", buffering=0) as stream:
        step = shutil.disk_usage(hog.parent).free
        while step >= 4096:
            size = os.fstat(stream.fileno()).st_size
            try:
                os.posix_fallocate(stream.fileno(), size, step)
            except OSError:
                step //= 2
    return hog


@pytest.mark.slow
def test_a_disk_that_fills_while_a_release_is_staged_switches_nobody(
    make_lab: MakeLab, clean_tool: Path, tmp_path: Path
) -> None:
    site: Site = make_site(tmp_path, clean_tool, make_lab(2, opt_size=ROOM), shared_cache())
    site.configure(policy=POLICY)
    assert site.ampzero("deploy", ".", "--setup").code == 0
    site.deploy()
    trial = Trial(site)
    full = site.lab.hosts[1]
    sequence, new = trial.sequence, trial.next()
    (site.folder / "large.bin").write_bytes(os.urandom(LARGE))
    site.commit("README.md", "a large release\n")
    blobs = full.path("/opt/ampzero/dist/patches")

    def is_arriving() -> bool:
        return any(path.stat().st_size for path in blobs.glob("*")) or reaches(full, sequence, "PREPARED")

    with users(site) as seen, attempt(site) as going:
        assert wait_for(lambda: is_arriving() or going.process.poll() is not None, LONG, 0.001)
        hog = fill(full)
        assert going.end() == 8, going.said
    assert "host-2: " in going.said and "no space left" in going.said
    assert "nothing was switched" in going.said and "free some space" in going.said
    assert seen.kinds() == {"one"}, "the old release is served all the time"
    hog.unlink()
    site.deploy()
    assert site.served() == {new}
    assert trial.ended(), trial.describe()


@pytest.mark.slow
def test_a_clock_that_jumps_an_hour_in_the_midst_of_a_deploy_mixes_nothing(trial: Trial) -> None:
    host = trial.site.lab.hosts[1]
    host.set_clock(0)
    host.kill()
    host.boot()
    trial.settle(trial.version)
    for offset in (3600, -3600):
        old, sequence, new = trial.version, trial.sequence, trial.next()
        with trial.watched(old, new), attempt(trial.site) as going:
            assert wait_for(partial(reaches, host, sequence, "STAGED"), LONG, 0.001)
            host.set_clock(offset)
            assert going.end() == 0, going.said
        trial.settle(new)
        done = trial.site.ampzero("deploy", ".", "--yes")
        assert done.code == 11 and "host-2: its clock is 60 minutes" in done.err, done.err
        host.set_clock(0)
    trial.deploy()
