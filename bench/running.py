"""One supervisor at one job: started, watched, stopped, and whatever is left of it removed by pid."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import processes
from bench.peers.peer import Job, Peer

DEADLINE = 30.0
"""Seconds after which a supervisor that does not do what it was asked is a failure."""


class TooSlow(Exception):
    """A supervisor did not do something within the deadline."""


def wait(
    condition: Callable[[], bool], what: str, deadline: float = DEADLINE, pause: float | None = None
) -> float:
    """Seconds on the monotonic clock when `condition` came true; looks often at first, or every `pause`.

    Raises: TooSlow.
    """
    begun = time.monotonic()
    while not condition():
        waited = time.monotonic() - begun
        if waited > deadline:
            raise TooSlow(f"{what}: not within {deadline:g} s")
        # Looking costs processor time that the supervisor may want, so rarely when it takes long.
        time.sleep(pause or (0.0003 if waited < 0.05 else 0.003))
    return time.monotonic()


@dataclass
class Running:
    """A started supervisor; `started_after` is the time from its command to the last child, in seconds."""

    peer: Peer
    job: Job
    token: str
    process: subprocess.Popen[bytes]
    started_after: float = 0.0
    others: set[int] = field(default_factory=set)
    """Processes that were there before: never ours, so not looked at in the times."""

    def children(self) -> set[int]:
        """The job's children that are there now."""
        return processes.children(self.job.argv, processes.pids() - self.others)

    def supervisors(self) -> set[int]:
        """Every process of the supervisor itself."""
        return processes.carrying(self.token) - processes.children(self.job.argv)

    def environment(self) -> dict[str, str]:
        """For commands that control it: without the mark, so that they count as nobody's."""
        return {**os.environ, "HOME": str(self.job.folder)}

    def stop(self) -> tuple[float, int]:
        """Stop it; seconds until it is gone altogether, and how many children it left alive."""
        begun = time.monotonic()
        how = self.peer.stop(self.job)
        if isinstance(how, int):
            self.process.send_signal(how)
        else:
            subprocess.run(how, env=self.environment(), capture_output=True, timeout=DEADLINE, check=False)

        def gone() -> bool:
            self.process.poll()
            return not self.supervisors()

        took = wait(gone, "stop") - begun
        return took, len(self.children())


@contextmanager
def running(peer: Peer, argv: tuple[str, ...], count: int) -> Iterator[Running]:
    """Start `count` children of `argv` under `peer`, and leave nothing of them behind. Raises: TooSlow."""
    folder = Path(tempfile.mkdtemp(prefix="ab"))
    job = Job(folder, argv, count)
    token = uuid.uuid4().hex
    now: Running | None = None
    try:
        peer.prepare(job)
        others = processes.pids()
        environment = {**os.environ, processes.VARIABLE: token, "HOME": str(folder)}
        with (folder / "supervisor.out").open("wb") as out:
            begun = time.clock_gettime(time.CLOCK_BOOTTIME)
            process = subprocess.Popen(
                peer.start(job), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, cwd=folder
            )
        now = Running(peer, job, token, process, others=others)
        try:
            wait(lambda: len(now.children()) >= count, "start", pause=0.05)
            # By the kernel's own record: who watches all the time takes processor time from what it watches.
            now.started_after = max(map(processes.started, now.children())) - begun
        except TooSlow as error:
            raise TooSlow(f"{error}\n{(folder / 'supervisor.out').read_text()[-2000:]}") from None
        yield now
    finally:
        if now:
            remove(now)
        shutil.rmtree(folder, ignore_errors=True)


def remove(now: Running) -> None:
    """Kill what the supervisor left, the supervisors first so that they start nothing again."""
    for _ in range(50):
        left = list(now.supervisors()) + list(processes.children(now.job.argv))
        now.process.poll()
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)
    raise TooSlow(f"could not remove {left}")
