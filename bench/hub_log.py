"""`python -m bench.hub_log`: how a hub's log and database grow, and what `init` pays for its keys.

A hub on SQLite is filled to each size through its own registrar, many registrations a transaction (only the
filling: what is measured goes through the hub's calls). Opening is measured in a new process each time, whose
peak memory is the kernel's VmHWM after it has answered look-ups and proofs all over the log.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from bench.results import machine
from keys import history, operation
from keys.hub import Hub
from keys.hub.making import make
from keys.hub.registrar import Registrar
from keys.keyfile import PrivateKey, load
from keys.log import checkpoint, entry, merkle
from keys.log.proof import verify_inclusion
from keys.operation import Operation, SignedOperation

SIZES = (1_000, 10_000, 100_000)
AT_ONCE = 1_000
SAMPLES = 300
STRIDE = 7919
"""A prime: samples from all over the log, the same ones each time."""
INITS = 7
TARGETS = {"inclusion proof": 5.0, "open": 2000.0, "memory": 150.0, "init": 150.0}
"""Milliseconds; megabytes."""

OPEN = """
import json, sys, time
began = time.perf_counter()
from pathlib import Path
from keys.hub import Hub
imported = time.perf_counter()
hub = Hub.open(Path(sys.argv[1]))
opened = time.perf_counter()
hub.checkpoint()
answered = time.perf_counter()
size = hub.size
for number in range(int(sys.argv[2])):
    at = number * int(sys.argv[3]) % size
    hub.inclusion(at, size)
    hub.statement(f"user-{at + 1}")
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps([imported - began, opened - imported, answered - opened, int(peak.split()[1]) / 1024]))
"""

INIT = """
import json, sys, time
from pathlib import Path
began, cpu = time.perf_counter(), time.process_time()
from keys.hub import LocalHub
from keys.identities import create_identities, finish_pending
folder = Path(sys.argv[1])
(folder / "ampnode").mkdir(parents=True)
hub = LocalHub.open(folder / "data/hub")
create_identities(folder / "ampnode", hub=hub, pending=folder / "data/pending/x")
finish_pending(folder / "data/pending/x")
print(json.dumps([time.perf_counter() - began, time.process_time() - cpu]))
"""


def main() -> None:
    """Measure, and print the page's part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=list(SIZES))
    folder = Path(tempfile.mkdtemp(prefix="bench-hub-"))
    try:
        print(f"Machine: {machine()}.\n")
        growth(folder / "hub", sorted(parser.parse_args().sizes))
        init(folder)
    finally:
        shutil.rmtree(folder)


def growth(folder: Path, sizes: list[int]) -> None:
    """One row a size."""
    names = ("identities", "register, ms", "look-up, µs", "inclusion proof, ms (p99)", "consistency, ms",
             "checkpoint, ms", "open, ms", "peak memory, MB", "database, MB", "fill, 1/s")  # fmt: skip
    print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|")
    now = datetime.now(UTC)
    make(folder, "hub.example", "https://hub.example", now)
    hub = Hub.open(folder)
    registrar = Registrar(hub.name, load(folder / "online.key"), hub.options, now)
    for size in sizes:
        began, before = time.perf_counter(), hub.size
        while (have := hub.size) < size:
            with hub.database.writing() as work:
                for _ in range(min(AT_ONCE, size - have)):
                    registrar.add(work, history.verified([new_user(now)]), "", "")
        rate = (size - before) / (time.perf_counter() - began)
        row = measure(hub, size)
        imported, opened, answered, peak = in_process(OPEN, folder, SAMPLES, STRIDE)
        total = sum(path.stat().st_size for path in folder.glob("hub.sqlite*")) / 2**20
        print(f"| {size:,} | {row} | {(opened + answered) * 1000:.0f} (+ imports {imported * 1000:.0f}) "
              f"| {peak:.0f} | {total:.0f} | {rate:.0f} |", flush=True)  # fmt: skip
    hub.close()


def measure(hub: Hub, size: int) -> str:
    """The columns that are measured in this process."""
    registrations, checkpoints = [], []
    for _ in range(30):
        user = new_user(datetime.now(UTC))
        registrations.append(timed(partial(hub.register, user)))
        checkpoints.append(timed(hub.checkpoint))
    now = checkpoint.parse(hub.checkpoint())[0]
    ids = [number * STRIDE % size for number in range(SAMPLES)]
    lookups = [timed(partial(hub.statement, f"user-{at + 1}")) for at in ids]
    proofs = [timed(partial(hub.inclusion, at, now.size)) for at in ids]
    grown = [timed(partial(hub.consistency, at + 1, now.size)) for at in ids]
    for at in ids[:20]:
        leaf = merkle.leaf(entry.encode(f"user-{at + 1}", hub.operations(f"user-{at + 1}")[0]))
        verify_inclusion(at, now.size, leaf, hub.inclusion(at, now.size), now.root)
    return (
        f"{median(registrations) * 1000:.1f} | {median(lookups) * 1e6:.0f} "
        f"| {median(proofs) * 1000:.2f} ({quantiles(proofs, n=100)[98] * 1000:.2f}) "
        f"| {median(grown) * 1000:.2f} | {median(checkpoints) * 1000:.2f}"
    )


def init(folder: Path) -> None:
    """What the keys of a user and a host cost, in new processes."""
    times = [in_process(INIT, folder / f"init-{number}") for number in range(INITS)]
    wall, cpu = (median(column) * 1000 for column in zip(*times, strict=True))
    print(f"\nKeys of a new instance (local hub, two key pairs each, registration, files on the disk): "
          f"{wall:.0f} ms, {cpu:.0f} ms of processor time, imports included, median of {INITS}.")  # fmt: skip
    print(f"\nTargets at 100,000: proof {TARGETS['inclusion proof']} ms, open {TARGETS['open']} ms, memory "
          f"{TARGETS['memory']} MB; keys {TARGETS['init']} ms.")  # fmt: skip


def new_user(now: datetime) -> SignedOperation:
    """A user's first operation, with fresh keys."""
    signing, control = PrivateKey.generate(), PrivateKey.generate()
    first = Operation(
        action="register", kind="user", seq=1, time=now, signing=signing.public, control=(control.public,)
    )
    return operation.sign(first, [signing, control])


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_process(program: str, folder: Path, *arguments: object) -> tuple[float, ...]:
    """What `program` prints, in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), *map(str, arguments)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[1],
    )  # fmt: skip
    said = json.loads(done.stdout)
    return tuple(said) if isinstance(said, list) else (said,)


if __name__ == "__main__":
    main()
