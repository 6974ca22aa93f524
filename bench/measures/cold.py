"""A new instance of all services: `ampzero run`, and the same programs started by hand, one after the other.

By hand each program is started alone, on a machine that has nothing else to do, and timed until the probe
that ampzero uses for it passes. The slowest chain is the longest way through what waits for what.
"""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.peers.peer import in_venv
from bench.running import DEADLINE, TooSlow
from lib import assembly, preparing, starting
from lib.certificates import Certificates
from lib.files import write_atomic
from lib.instance import Instance
from lib.loader import load_instance
from lib.options import Options
from lib.ports import PortBook
from lib.supervisor import probes
from lib.supervisor.environment import clean_environment
from lib.supervisor.spec import Plan, ProcessSpec, ServiceSpec

LOOK = 0.005
"""Seconds between two looks whether a program started by hand is ready."""


@dataclass
class Cold:
    """Seconds until `ampzero run` returned, and of the slowest chain by hand; the chain in words."""

    run: float
    chain: float
    words: str


def measure() -> Cold:
    """One round, on an instance of its own. Raises: TooSlow, subprocess.CalledProcessError."""
    folder = Path(tempfile.mkdtemp(prefix="ab"))
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": "", "GIT_CONFIG_GLOBAL": os.devnull}
    try:
        settings = ("--set", f"amprun_root_directory={folder / 'var'}", "--set", f"port={free_port()}")
        ampzero(environment, "init", "cold", "--yes", "--dir", str(folder), *settings)
        place = folder / "cold"
        try:
            run = ampzero(environment, "run", str(place))
        finally:
            ampzero(environment, "stop", str(place))
        instance = load_instance(str(place))
        certificate = instance.directory / "nginx/server.cert"
        shutil.rmtree(instance.data)
        plan = prepared(instance, (certificate, certificate.with_suffix(".key")))
        chain, words = slowest_chain(plan, times_by_hand(plan))
        return Cold(run, chain, words)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A TCP port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def ampzero(environment: dict[str, str], *arguments: str) -> float:
    """Run the command; how long it took. Raises: subprocess.CalledProcessError."""
    begun = time.monotonic()
    subprocess.run([in_venv("ampzero"), *arguments], env=environment, capture_output=True, check=True)
    return time.monotonic() - begun


def prepared(instance: Instance, certificate: tuple[Path, Path]) -> Plan:
    """What `ampzero run` would run, with its folders and files made. Raises: AmpzeroError."""
    ports = PortBook(instance.state / "ports.json", instance.name)
    try:
        context = preparing.make_context(
            instance, Options(), ports, lambda _: Certificates(*certificate, *certificate)
        )
        parts = assembly.assemble(context, assembly.choose(instance), {})
    finally:
        ports.release()
    starting.make_folders(instance)
    for folder in parts.folders:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in parts.files:
        write_atomic(file.path, file.content, file.mode)
    return parts.plan


def times_by_hand(plan: Plan) -> dict[str, float]:
    """Seconds from the start of each service's programs until all are ready; what it needs runs already."""
    times = {}
    with by_hand() as started:
        for service in plan.services:  # in the order of what waits for what
            begun = time.monotonic()
            words = {
                process.name: Path(plan.sockets) / f"hand-{process.name}.sock"
                for process in service.processes
            }
            with told(words.values()) as heard:
                for process in service.processes:
                    started.append(start(process, plan, words[process.name]))
                asyncio.run(all_ready(service))
                heard(sum(p.ready is not None and p.ready.kind == "notify" for p in service.processes))
            times[service.name] = time.monotonic() - begun
    return times


@contextmanager
def told(paths: Iterable[Path]) -> Iterator[Callable[[int], None]]:
    """Sockets at `paths` on which programs may say READY=1; the result waits until so many have.

    Raises: TooSlow.
    """
    with ExitStack() as stack:
        ears = []
        for path in paths:
            path.unlink(missing_ok=True)
            ear = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            ear.bind(str(path))
            ears.append(ear)

        def heard(count: int) -> None:
            left = list(ears)
            until = time.monotonic() + DEADLINE
            while len(ears) - len(left) < count:
                ready, _, _ = select.select(left, [], [], max(0.0, until - time.monotonic()))
                if not ready:
                    raise TooSlow("a program by hand did not say that it is ready")
                left = [ear for ear in left if ear not in ready]

        yield heard


@contextmanager
def by_hand() -> Iterator[list[subprocess.Popen[bytes]]]:
    """A list of processes, which are ended with everything that they started, the last first."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        yield started
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def start(process: ProcessSpec, plan: Plan, word: Path) -> subprocess.Popen[bytes]:
    """The program as a shell would start it, with the environment that it has under ampzero; it may say at
    the socket `word` that it is ready."""
    environment = {
        **clean_environment(os.environ, plan), **process.env, "AMPZERO_SERVICE": process.service,
        "NOTIFY_SOCKET": str(word),
    }  # fmt: skip
    return subprocess.Popen(
        process.argv, cwd=process.cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


async def all_ready(service: ServiceSpec) -> None:
    """Return when the probes of all its processes have passed. Raises: TooSlow."""
    until = time.monotonic() + DEADLINE
    for process in service.processes:
        while process.ready and process.ready.kind != "notify":
            try:
                await probes.ask(process.ready)
                break
            except (probes.ProbeError, OSError) as error:
                if time.monotonic() > until:
                    raise TooSlow(f"{process.name} by hand: {error}") from None
                await asyncio.sleep(LOOK)


def slowest_chain(plan: Plan, times: dict[str, float]) -> tuple[float, str]:
    """The longest way through what waits for what: its seconds, and its services in words."""
    ends: dict[str, tuple[float, str]] = {}
    for service in plan.services:
        needed = [ends[name] for name, condition in service.depends_on.items() if condition != "started"]
        before = max(needed, default=(0.0, ""))
        words = f"{service.name} {times[service.name]:.2f} s"
        ends[service.name] = (before[0] + times[service.name], f"{before[1]}, {words}".lstrip(", "))
    return max(ends.values())
