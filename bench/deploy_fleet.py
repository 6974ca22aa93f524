"""`PYTHONPATH=tests python -m bench.deploy_fleet`: deploys to hosts of a lab, into bench/FLEET.md.

Root, Linux. The instance has a tree of 27 MB (Django beside its module). The first deploy sends all of it;
the others have one changed file. A deploy is the whole command, from its start to its end, when every host
serves the release. The hosts are on this machine: what they do is in the wall time, not in the coordinator's.
Skew is from the first to the last host that took its placeholder away. With `--peers` others bring the same
tree to as many hosts (bench/fleet_peers.py).
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from fleet_support import Site, copy_tool, make_site, shared_cache

from bench import fleet_peers
from bench.deploy_delta import installed
from bench.results import machine
from deploy.lab import Lab

RESULTS = Path(__file__).parent / "FLEET.md"
COUNTS = (1, 10, 20, 50)
LONGEST = 900.0
LOOK = 0.05
"""Seconds between two looks at the memory; its peak is the kernel's own, so nothing is missed between."""
HEAD = (
    "| hosts | deploy | wall | coordinator's CPU | its peak memory | bytes it sent | skew |\n"
    + "|---" * 7
    + "|"
)
PEERS = (
    "Others, one file changed: rsync beside hard links, Ansible and pyinfra with a tar of the tree; all "
    "switch a link then, and restart nothing."
)
PEERS_HEAD = "| hosts | with | three times | median |\n" + "|---" * 4 + "|"
POLICY = {"health_deadline": "300s", "step_deadline": "300s"}
"""Fifty instances that start at once on a small machine take their time."""


@dataclass(frozen=True)
class Deploy:
    """One deploy, measured: seconds, MB, bytes on the machine's cable to the lab, seconds."""

    hosts: int
    what: str
    wall: float
    cpu: float
    memory: float
    sent: int
    skew: float

    def row(self) -> str:
        """A line of the table."""
        return (f"| {self.hosts} | {self.what} | {self.wall:.1f} s | {self.cpu:.1f} s | {self.memory:.0f} MB "
                f"| {self.sent / 1e6:.2f} MB | {1000 * self.skew:.0f} ms |")  # fmt: skip


def sent(lab: Lab) -> int:
    """The bytes that this machine has sent to the lab, and to nobody else."""
    argv = ["ip", "-o", "route", "get", lab.hosts[0].address]
    route = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    found = re.search(r" dev (\S+)", route)
    assert found is not None
    return int(Path(f"/sys/class/net/{found[1]}/statistics/tx_bytes").read_text())


def watch(pid: int, peak: list[int]) -> None:
    """Keep the process's VmHWM, in kB, until it is gone."""
    while True:
        try:
            said = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        except OSError:
            return
        if said is None:  # it has ended, and was not waited for yet
            return
        peak.append(int(said[1]))
        time.sleep(LOOK)


def deploy(site: Site, what: str) -> Deploy:
    """`ampzero deploy`, measured.

    Raises: RuntimeError where it fails.
    """
    before, begun = sent(site.lab), time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        argv = site.argv("deploy", ".", "--yes")
        process = subprocess.Popen(argv, cwd=site.folder, stdout=said, stderr=said, env=site.environment)
        peak = [0]
        watcher = threading.Thread(target=watch, args=(process.pid, peak))
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - begun
        watcher.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{what}: exit code {process.returncode}: {said.read()[-2000:]}")
    return Deploy(len(site.lab.hosts), what, wall, usage.ru_utime + usage.ru_stime, peak[-1] / 1024,
                  sent(site.lab) - before, skew(site))  # fmt: skip


def skew(site: Site) -> float:
    """Seconds between the first host that let its users in and the last one.

    Then the flag of the placeholder page goes, the last that happens in that folder.
    """
    moments = [
        host.path(f"/opt/ampzero/var/{site.folder.name}/run").stat().st_mtime for host in site.lab.hosts
    ]
    return max(moments) - min(moments)


def measure(folder: Path, tool: Path, count: int) -> list[Deploy]:
    """All deploys to a lab of `count` hosts."""
    with Lab.make(f"bench{count}", count) as lab:
        site = make_site(folder / f"of-{count}", tool, lab, shared_cache())
        installed(site.folder / "vendor", "Django==5.2.1")
        site.configure(policy=POLICY)
        done = site.ampzero("deploy", ".", "--setup", timeout=LONGEST)
        if done.code:
            raise RuntimeError(f"setup: {done.err[-2000:]}")
        found = [deploy(site, "first")]
        for number in range(3):
            site.change(f"changed-{number}")
            found.append(deploy(site, "one file changed"))
        return found


def measure_peers(folder: Path, count: int) -> list[str]:
    """The rows of what others take for the same tree, on a lab of `count` hosts."""
    tree = folder / "tree"
    installed(tree, "Django==5.2.1")
    with Lab.make(f"peers{count}", count) as lab:
        found = fleet_peers.measure(lab, tree, folder / "peers")
    return [
        f"| {count} | {way} | {', '.join(f'{took:.1f}' for took in times)} s | {median(times):.1f} s |"
        for way, times in found.items()
    ]


def main() -> int:
    """Measure, and write the page after each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", nargs="*", type=int, help="numbers of hosts (default: 1 10 20 50)")
    parser.add_argument("--stdout", action="store_true", help=f"print the table, leave {RESULTS.name} alone")
    parser.add_argument("--peers", type=int, default=0, metavar="HOSTS", help="measure others with so many")
    options = parser.parse_args()
    rows: list[str] = []
    others: list[str] = []
    with tempfile.TemporaryDirectory(prefix="ampzero-bench-") as name:
        folder = Path(name)
        tool = folder / "tool"
        tool.mkdir()
        copy_tool(tool)
        for count in options.counts or COUNTS:
            rows += [one.row() for one in measure(folder, tool, count)]
            if count == options.peers:
                others = measure_peers(folder, count)
            if options.stdout:
                print("\n".join([*rows, *others]), flush=True)
            else:
                RESULTS.write_text(page(rows, others))
    return 0


def page(rows: list[str], others: list[str]) -> str:
    """The whole page."""
    beside = [] if not others else ["", PEERS, "", PEERS_HEAD, *others]
    return f"""# Deploys to the hosts of a lab

Made by `python -m bench.deploy_fleet` on {time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}; do not edit.
How it is measured: [README.md](README.md). Machine: {machine()}; all hosts run on it, too.

{HEAD}
{chr(10).join([*rows, *beside])}
"""


if __name__ == "__main__":
    sys.exit(main())
