"""A host of a lab: its power, its cable, and a console that works without either network or sshd."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from deploy.lab import clock, processes
from deploy.lab.disk import SCRIPTS
from deploy.lab.network import NAMESPACES, Network
from deploy.lab.tools import PATH
from lib.errors import AmpzeroError, NotReadyError, NotRunningError

BOOT_DEADLINE = 30.0
"""Seconds from power on to a listening sshd; it takes a tenth of one where the machine is idle."""
KILLED = (137, -9)
"""What timeout(1) ends with when it had to kill."""
LATER = 5.0
"""Seconds after its deadline that a command's output may take to end."""
ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}
"""All that a host's first process, and a command at its console, has of variables."""


@dataclass(frozen=True)
class Host:
    """One host; nothing of it is kept in memory, so that any process may hold one."""

    name: str
    address: str
    folder: Path
    network: Network

    @property
    def namespace(self) -> str:
        """Its network namespace."""
        return self.network.namespace(self.name)

    @property
    def init(self) -> int:
        """The pid of its first process on this machine, 0 when it has no power."""
        return processes.first(processes.inside([self.namespace]).get(self.namespace, []))

    @property
    def is_cut(self) -> bool:
        """Whether its cable is cut; it stays so when the host is killed and boots."""
        return self._cut_mark.exists()

    @property
    def _cut_mark(self) -> Path:
        return self.folder / "cut"

    def path(self, inner: str) -> Path:
        """Where a file of its /opt, /home, /root or /srv lies on this machine, also when it has no power."""
        return self.folder / "root" / inner.lstrip("/")

    def console_argv(self, argv: Sequence[str]) -> list[str]:
        """The command of this machine that runs `argv` on the host, as root in /root.

        Raises: NotRunningError.
        """
        init = self.init
        if not init:
            raise NotRunningError(f"{self.name} has no power", f"ampzero lab boot {self.name}")
        inside = ["env", "-i", "-C", "/root", *(f"{key}={value}" for key, value in ENVIRONMENT.items())]
        namespaces = ["--mount", "--net", "--pid", "--uts", "--ipc"]
        return ["nsenter", f"--target={init}", *namespaces, "--root", "--wd", *inside, *argv]

    def run(
        self, argv: Sequence[str], text: str = "", timeout: float = 60, *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command at the host's console, and wait for its end.

        Raises: NotRunningError without power; AmpzeroError when it fails (with `check`) or takes too long.
        """
        # timeout(1) over there, as nsenter would end alone; ours is for a child which keeps its stdout open.
        command = self.console_argv(["timeout", "--signal=KILL", f"{timeout:g}", *argv])
        deadline = time.monotonic() + timeout
        late = AmpzeroError(f"{self.name}: {argv[0]} did not end within {timeout:g} s")
        try:
            done = subprocess.run(
                command, input=text, capture_output=True, text=True, errors="replace",
                timeout=timeout + LATER, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise late from error
        if done.returncode in KILLED and time.monotonic() >= deadline:
            raise late
        if check and done.returncode:
            words = " ".join(done.stderr.split())[-300:]
            raise AmpzeroError(f"{self.name}: {argv[0]} ended with exit code {done.returncode}: {words}")
        return done

    def boot(self) -> None:
        """Power on, and wait until sshd listens.

        Raises: AmpzeroError when it is on already, NotReadyError.
        """
        if self.init:
            raise AmpzeroError(f"{self.name} is running already", f"ampzero lab kill {self.name}")
        processes.kill_all([self.namespace])
        self.network.forget(self.name)
        self.network.plug({self.name: self.address})
        if self.is_cut:
            self.network.set_link(self.name, "down")
        self.wait(self.power_on())

    def power_on(self) -> IO[bytes]:
        """Start it; its cable must be plugged in. Give the result to wait().

        Raises: AmpzeroError.
        """
        argv = ["setsid", "--fork", "nsenter", f"--net={NAMESPACES / self.namespace}", "unshare"]
        argv += ["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        argv += ["/bin/sh", str(SCRIPTS / "boot.sh"), str(self.folder), self.name]
        with (self.folder / "console.log").open("ab") as console:
            reading, writing = os.pipe()
            with os.fdopen(writing, "wb") as stdout:
                subprocess.run(
                    argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=console, env=ENVIRONMENT, cwd="/",
                    check=False,
                )  # fmt: skip
        return os.fdopen(reading, "rb")

    def wait(self, started: IO[bytes]) -> None:
        """Wait until it is up: it says so on its first process's stdout, which closes when that ends.

        Raises: NotReadyError with the last words of its console.
        """
        with started:
            ready, _, _ = select.select([started], [], [], BOOT_DEADLINE)
            if ready and os.read(started.fileno(), 8) == b"up\n":
                return
        words = (self.folder / "console.log").read_text(errors="replace").split("\n")[-4:]
        raise NotReadyError(f"{self.name} does not boot: {' '.join(words).strip() or 'no word from it'}")

    def kill(self) -> None:
        """Cut its power: nothing in it gets to say goodbye. Its disk stays.

        Raises: NotRunningError, LeftoverError.
        """
        if not self.init:
            raise NotRunningError(f"{self.name} has no power", f"ampzero lab boot {self.name}")
        # First, so that no closing word of its connections gets out.
        self.network.pull(self.name)
        processes.kill_all([self.namespace])
        self.network.forget(self.name)

    def cut(self) -> None:
        """Cut its cable: it runs on, and hears and says nothing.

        Raises: AmpzeroError.
        """
        self._cut_mark.touch()
        if self.init:
            self.network.set_link(self.name, "down")

    def mend(self) -> None:
        """Mend its cable.

        Raises: AmpzeroError.
        """
        self._cut_mark.unlink(missing_ok=True)
        if self.init:
            self.network.set_link(self.name, "up")

    def set_clock(self, offset: float) -> None:
        """Let every Python that starts here from now on see a time `offset` seconds off; 0 undoes it. Those
        that run see it as well where an offset was set before they started.

        It stays over a boot. Other programs are not fooled: see clock.py.

        Raises: NotRunningError, AmpzeroError.
        """
        self.run(["python3", "-S", "-c", clock.script(), str(round(offset))], clock.MODULE)
