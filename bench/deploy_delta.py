"""`python -m bench.deploy_delta`: a change of release on the wire, beside rsync, into bench/DEPLOY.md.

Each pair is two application trees. Ours is the patch that a deploy sends to a host that has the old release;
rsync's are the bytes that it says it sent and received, to a folder that holds the old tree. Building and
applying run in processes of their own, whose peak memory is the kernel's VmHWM.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from statistics import median

from bench.results import machine
from deploy import delta
from deploy.agent import patch
from deploy.agent.archive import Entry, write

RESULTS = Path(__file__).parent / "DEPLOY.md"
ROUNDS = 3
REMOTE = '#!/bin/sh\nwhile [ "$1" != host ]; do shift; done\nshift\nexec "$@"\n'
"""What rsync takes for ssh: it drops the options and the host, and runs the command here."""
BYTES = re.compile(r"^Total bytes (?:sent|received): ([\d,]+)", re.MULTILINE)
NOT_OURS = "__pycache__"
HEAD = (
    "| change | tar | our patch, bytes | `rsync -az` | `rsync -azc` | rsync / ours | target "
    "| build: wall (CPU), peak | apply |\n" + "|---" * 9 + "|"
)
BUILD_MB, APPLY_MB = 150, 100


@dataclass(frozen=True)
class Cost:
    """Of one of our two steps: seconds of wall and of processor, peak memory in MB."""

    wall: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Pair:
    """One change of release, measured. `share` of rsync's bytes is the target; 0: none was set."""

    name: str
    tar: int
    share: float
    patch: int
    rsync: int
    rsync_checksum: int
    build: Cost
    apply: Cost


def installed(folder: Path, requirement: str) -> Path:
    """An application tree as pip makes it."""
    into = folder / requirement.replace("==", "-")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    subprocess.run([*pip, "--target", str(into), requirement], check=True)
    return into


def one_changed(folder: Path, tree: Path) -> Path:
    """A copy of the tree in which one module has one line more; all times are kept."""
    into = folder / f"{tree.name}-changed"
    shutil.copytree(tree, into)
    module = into / "django/http/response.py"
    module.write_text(module.read_text().replace("\n\n\n", "\n\n\nCHANGED = True\n\n\n", 1))
    return into


def tar(tree: Path, mtime: int) -> Path:
    """The tree's tar, as a release holds it."""
    entries = []
    for path in tree.rglob("*"):
        if path.is_file() and NOT_OURS not in path.parts:
            found = path.stat()
            mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
            name = path.relative_to(tree).as_posix()
            entries.append(Entry(name, mode, partial(FileIO, path), size=found.st_size))
    made = tree.with_name(f"{tree.name}.tar")
    with made.open("wb") as stream:
        write(entries, stream, mtime)
    return made


def rsync(folder: Path, old: Path, new: Path, *options: str) -> int:
    """The bytes that rsync sends and receives to make a copy of `old` be `new`."""
    remote = folder / "remote"
    remote.write_text(REMOTE)
    remote.chmod(0o755)
    host = folder / "host"
    shutil.rmtree(host, ignore_errors=True)
    shutil.copytree(old, host)
    argv = ["rsync", "-az", *options, "--delete", "--stats", "-e", str(remote), f"{new}/", f"host:{host}/"]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    assert subprocess.run(["diff", "-r", new, host], check=False).returncode == 0
    return sum(int(number.replace(",", "")) for number in BYTES.findall(said))


def measured(*argv: str) -> Cost:
    """One of our steps in a process of its own: the median of its times, the highest of its peaks."""
    costs = []
    for _ in range(ROUNDS):
        own = [sys.executable, "-m", "bench.deploy_delta", "--step", *argv]
        costs.append(Cost(**json.loads(subprocess.run(own, check=True, capture_output=True).stdout)))
    return Cost(median(cost.wall for cost in costs), median(cost.cpu for cost in costs),
                max(cost.memory for cost in costs))  # fmt: skip


def step(what: str, old: Path, new: Path, patched: Path) -> None:
    """Do it here, and print what it cost."""
    work: Callable[[], None] = (
        partial(delta.build, old, new, patched)
        if what == "build"
        else partial(patch.apply, patched, old, new)
    )
    begun, used = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - begun, time.process_time() - used
    status = Path("/proc/self/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None
    print(json.dumps({"wall": wall, "cpu": cpu, "memory": int(peak[1]) / 1024}))


def compare(folder: Path, name: str, old: Path, new: Path, share: float) -> Pair:
    """Measure one pair, and see that the new tar comes out to the byte."""
    before, after = tar(old, 1_700_000_000), tar(new, 1_700_000_001)
    patched, made = folder / "patch", folder / "made.tar"
    built = measured("build", str(before), str(after), str(patched))
    applied = measured("apply", str(before), str(made), str(patched))
    if made.read_bytes() != after.read_bytes():
        raise AssertionError(f"{name}: the patch does not make the new tar")
    return Pair(
        name, after.stat().st_size, share, patched.stat().st_size, rsync(folder, old, new),
        rsync(folder, old, new, "--checksum"), built, applied,
    )  # fmt: skip


def row(pair: Pair) -> str:
    """A line of the table."""
    share = pair.rsync / pair.patch
    target = f"≥ {1 / pair.share:.0f}" if pair.share else ""
    cells = (
        pair.name, f"{pair.tar / 1e6:.1f} MB", f"{pair.patch:,}",
        f"{pair.rsync:,}", f"{pair.rsync_checksum:,}",
        f"{share:,.0f} ×" if share > 10 else f"{share:.1f} ×", target,
        f"{pair.build.wall:.2f} s ({pair.build.cpu:.2f} s), {pair.build.memory:.0f} MB",
        f"{pair.apply.wall:.2f} s ({pair.apply.cpu:.2f} s), {pair.apply.memory:.0f} MB",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def page(pairs: list[Pair]) -> str:
    """The whole page."""
    version = subprocess.run(["rsync", "--version"], check=True, capture_output=True, text=True).stdout
    build = max(pair.build.memory for pair in pairs)
    apply = max(pair.apply.memory for pair in pairs)
    small = all(not pair.share or pair.patch <= pair.share * pair.rsync for pair in pairs)
    met = small and build <= BUILD_MB and apply <= APPLY_MB
    return f"""# What a change of release costs on the wire

Made by `python -m bench.deploy_delta` on {time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}; do not edit.
How it is measured: [README.md](README.md). Machine: {machine()}. {version.splitlines()[0].strip()}.

{HEAD}
{chr(10).join(map(row, pairs))}

Bytes of rsync are what it says that it sent and received; ours are the patch. All targets:
{"met" if met else "MISSED"}. Peak memory, the interpreter's own included: {build:.0f} MB to build (target
{BUILD_MB} MB), {apply:.0f} MB to apply (target {APPLY_MB} MB).
"""


def main() -> int:
    """Measure everything; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stdout", action="store_true", help=f"print the page, leave {RESULTS.name} alone")
    parser.add_argument("--step", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        what, *paths = options.step
        step(what, *map(Path, paths))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        old, new = installed(folder, "Django==5.2"), installed(folder, "Django==5.2.1")
        older, newer = installed(folder, "numpy==2.2.5"), installed(folder, "numpy==2.2.6")
        pairs = [
            compare(folder, "Django 5.2 → 5.2.1", old, new, 1 / 20),
            compare(folder, "numpy 2.2.5 → 2.2.6", older, newer, 1 / 2),
            compare(folder, "one line in one file of Django", new, one_changed(folder, new), 0),
        ]
    text = page(pairs)
    if options.stdout:
        print(text)
    else:
        RESULTS.write_text(text)
    return int("MISSED" in text)


if __name__ == "__main__":
    sys.exit(main())
