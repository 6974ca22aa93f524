"""For the tests of failing deploys: a deploy in the background, a second machine, and what must hold."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from fleet_support import Seen, Site, users
from support import wait_for

from deploy.lab import Host

POLICY = {
    "orphan_after": "3s", "health_deadline": "40s", "drain": "1s", "step_deadline": "60s",
}  # fmt: skip
ORDER = ("STAGED", "PREPARED", "COMMITTED", "DURABLE", "CLOSING", "CLOSED", "SWAPPING", "SWAPPED", "STARTING",
         "HEALTHY", "OPENING", "OPEN", "FINISHED")  # fmt: skip
LONG = 120.0
"""Seconds that anything may take on a machine that is busy with other tests."""
END_AGENTS = """
import os, signal
for name in os.listdir('/proc'):
    try:
        words = open(f'/proc/{name}/cmdline', 'rb').read().split(b'\\0')
        if b'serve' in words and b'/opt/ampzero' in words:
            os.kill(int(name), signal.SIGKILL)
    except (OSError, ValueError):
        pass
"""


def state(host: Host) -> tuple[int, str]:
    """The sequence and the state that the host's journal names last, also without power."""
    try:
        lines = host.path("/opt/ampzero/state/journal").read_bytes().split(b"\n")
    except FileNotFoundError:
        return 0, ""
    for line in reversed(lines[:-1]):
        try:
            entry: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        return entry["sequence"], entry["state"]
    return 0, ""


def reaches(host: Host, sequence: int, wanted: str) -> bool:
    """Whether a deploy has come as far as `wanted` on the host."""
    now, name = state(host)
    return now > sequence or (now == sequence and name in ORDER and ORDER.index(name) >= ORDER.index(wanted))


def end_agent(host: Host) -> None:
    """SIGKILL for whatever serves a coordinator on the host."""
    host.run(["python3", "-I", "-c", END_AGENTS], timeout=LONG, check=False)


def elsewhere(site: Site) -> Site:
    """The same instance, with its key, on another machine of the user's: another home, nothing cached."""
    home = site.home.parent / "second"
    folder = home / "shop"
    shutil.rmtree(folder, ignore_errors=True)
    home.mkdir(exist_ok=True)
    if not (home / "cache").is_symlink():
        (home / "cache").symlink_to((site.home / "cache").resolve())
    shutil.copytree(site.folder, folder, symlinks=True)
    return replace(site, folder=folder, home=home)


@dataclass
class Attempt:
    """`ampzero deploy` that goes on while the test does something else."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def has_said(self, beginning: str) -> bool:
        """Whether a line begins so."""
        return any(line.startswith(beginning) for line in self.lines)

    def wait_line(self, beginning: str) -> bool:
        """Wait for a line that begins so; False when it ended without."""
        assert wait_for(lambda: self.has_said(beginning) or self.process.poll() is not None, LONG, 0.002)
        return self.has_said(beginning)

    def kill(self) -> None:
        """SIGKILL, as a power cut of the user's machine."""
        self.process.kill()

    def end(self) -> int:
        """Its exit code."""
        return self.process.wait(LONG)

    @property
    def said(self) -> str:
        """All that it wrote."""
        return "\n".join(self.lines)


@contextmanager
def attempt(site: Site, *arguments: str) -> Iterator[Attempt]:
    """`ampzero deploy . --yes` in the background."""
    process = subprocess.Popen(
        site.argv("deploy", ".", "--yes", *arguments), cwd=site.folder, env=site.environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
    )  # fmt: skip
    going = Attempt(process)

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            going.lines.append(line.rstrip("\n"))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield going
    finally:
        process.kill()
        process.wait()
        reader.join(LONG)


class Trial:
    """A site on which one version after the other is deployed, whatever happens on the way."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.version = "one"
        self._number = 1

    def next(self) -> str:
        """Commit another version; its name."""
        self._number += 1
        version = f"v{self._number}"
        self.site.change(version)
        return version

    @property
    def sequence(self) -> int:
        """The sequence of the next deploy."""
        return 1 + max(state(host)[0] for host in self.site.lab.hosts)

    @contextmanager
    def watched(self, old: str, new: str) -> Iterator[Seen]:
        """Users on all hosts; at the end none may have got `old` after another got `new`."""
        with users(self.site, 0.05) as seen:
            yield seen
        mixed = seen.mixed(old, new)
        assert not mixed, f"{len(mixed)} answers of the old release after the new one, first {mixed[0]}"

    def mend(self) -> None:
        """Power and cables for all hosts."""
        for host in self.site.lab.hosts:
            if host.init == 0:
                host.boot()
            host.mend()

    def settle(self, *allowed: str) -> str:
        """Wait until all hosts serve one and the same of the `allowed` versions; which."""
        served: set[str] = set()

        def one() -> bool:
            nonlocal served
            served = self.site.served()
            return len(served) == 1 and served <= set(allowed)

        assert wait_for(one, LONG, 0.2), f"{served}, wanted one of {allowed}: {self.describe()}"
        (self.version,) = served
        return self.version

    def ended(self) -> bool:
        """Whether no host has anything to do any more."""
        return all(state(host)[1] in ("FINISHED", "ABORTED") for host in self.site.lab.hosts)

    def resume(self, site: Site | None = None) -> None:
        """`--resume`, which must succeed."""
        done = (site or self.site).ampzero("deploy", ".", "--resume", timeout=LONG)
        assert done.code == 0, f"{done.code}: {done.out}{done.err}\n{self.describe()}"

    def recover(self) -> None:
        """After a test that failed: power, cables, and a release that all hosts serve."""
        self.mend()
        if self.ended() and self.site.served() == {self.version}:
            return
        self.site.ampzero("deploy", ".", "--resume", timeout=LONG)
        self.site.configure(policy=POLICY)
        self.deploy()

    def deploy(self, *arguments: str) -> str:
        """Deploy another version, which must succeed; its name."""
        self.version = self.next()
        self.site.deploy(*arguments, timeout=LONG)
        assert self.site.served() == {self.version}, self.describe()
        return self.version

    def describe(self) -> str:
        """The hosts as a failed assertion should show them."""
        texts = []
        for host in self.site.lab.hosts:
            journal = host.path("/opt/ampzero/state/journal")
            keeper = host.path("/opt/ampzero/state/keeper.log")
            lines = [json.loads(line) for line in journal.read_text().splitlines()[-16:]]
            steps = [
                f"{e['sequence']}/{e['epoch']} {e['state']} {e['by']} {e['error']}".strip() for e in lines
            ]
            log = keeper.read_text().splitlines()[-6:] if keeper.exists() else []
            texts.append(f"{host.name}: {'; '.join(steps)}\n  keeper: {' | '.join(log)}")
        return "\n" + "\n".join(texts)


def lose_coordinator(trial: Trial, moment: Callable[[Attempt, int], object]) -> str:
    """Kill a deploy when `moment` returns, resume it on another machine; the version that all serve then."""
    old, sequence = trial.version, trial.sequence
    new = trial.next()
    with trial.watched(old, new):
        with attempt(trial.site) as going:
            moment(going, sequence)
            going.kill()
        trial.resume(elsewhere(trial.site))
        trial.settle(old, new)
    assert wait_for(trial.ended, LONG, 0.1), trial.describe()
    return trial.version


def lose_host(trial: Trial, host: Host, when: str, lose: Callable[[Host], object]) -> tuple[str, Attempt]:
    """`lose` a host once its journal says `when`; mend it when the deploy has ended, and resume.

    The version that all serve then, and the deploy.
    """
    old, sequence = trial.version, trial.sequence
    new = trial.next()
    with trial.watched(old, new):
        with attempt(trial.site) as going:
            assert wait_for(
                lambda: reaches(host, sequence, when) or going.process.poll() is not None, LONG, 0.001
            )
            lose(host)
            going.end()
        trial.mend()
        trial.resume(elsewhere(trial.site))
        trial.settle(old, new)
    assert wait_for(trial.ended, LONG, 0.1), trial.describe()
    return trial.version, going
