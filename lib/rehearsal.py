"""`run --dry-run`: everything that a start needs is worked out and checked, in a folder of its own.

What runs, the instance's var folder and its ports are only looked at. Files are rendered as for a start, into
a scratch folder that stands in for var, and the programs that can check them do so there.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from lib import leftovers, preparing, starting, told
from lib.certificates import Certify
from lib.errors import ConfigError
from lib.instance import Instance
from lib.options import Options
from lib.portholder import listens
from lib.ports import PortBook
from lib.running import check_owner
from lib.selfcheck import run_check
from lib.supervisor.spec import Plan, ServiceSpec

KEPT = ("ports.json", "scale.json")
"""Files of the state folder that a start reads."""

TRIAL_TIME = 10.0
"""Seconds in which a redis with nothing in it must answer, or say what it does not like."""

HINT = "nothing was changed; correct it, and try again"


def rehearse(instance: Instance, options: Options, certify: Certify, live: Instance | None = None) -> Plan:
    """What a start would run, all of it checked; nothing is touched. `live` is the instance whose place this
    one is to take, where that is another folder.

    Raises: the AmpzeroError that a start would raise.
    """
    live = live or instance
    check_owner(live)
    with tempfile.TemporaryDirectory(prefix="ampzero-") as place:
        scratch = replace(live, directory=instance.directory, config_file=instance.config_file,
                          root=Path(place), var_name="var")  # fmt: skip
        try:
            plan = _prepare(scratch, live, options, certify)
        finally:
            if scratch.sockets != scratch.run:
                shutil.rmtree(scratch.sockets, ignore_errors=True)
        # As it would be: the scratch folder's name stands for var's, wherever it is.
        text = msgspec.json.encode(plan).decode().replace(str(scratch.sockets), str(live.sockets))
        text = text.replace(str(scratch.var), str(live.var)).replace(
            str(instance.directory), str(live.directory)
        )
        return msgspec.json.decode(text, type=Plan)


def _prepare(scratch: Instance, live: Instance, options: Options, certify: Certify) -> Plan:
    starting.make_folders(scratch)
    pids = leftovers.find(live)
    for name in KEPT if pids else KEPT[:1]:
        with suppress(OSError):
            shutil.copyfile(live.state / name, scratch.state / name)
    for group in told.GROUPS:
        with suppress(OSError):
            shutil.copytree(told.newest(live, group), told.folder(scratch, group))
    ports = PortBook(
        scratch.state / "ports.json", str(live.var), ours=lambda port: bool(pids) and listens(port, pids)
    )
    try:
        parts = preparing.prepare(scratch, options, ports, certify)
    finally:
        ports.release()
    for file in parts.files:
        preparing.write_file(file)
    for service in parts.plan.services:
        for argv in service.processes[0].check if service.processes else ():
            run_check(service, argv, {}, HINT)
        if service.kind == "redis" and service.processes:
            _try_redis(service, scratch.sockets / f"{service.name}.sock")
    return parts.plan


def _try_redis(service: ServiceSpec, socket: Path) -> None:
    """Start a redis with this configuration, without data and without a port: it has no check of its own.

    Raises: ConfigError.
    """
    argv = [*service.processes[0].argv, "--port", "0"]
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(
            argv, cwd=service.processes[0].cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as redis,
    ):
        try:
            until = time.monotonic() + TRIAL_TIME
            while redis.poll() is None and not socket.exists() and time.monotonic() < until:
                time.sleep(0.01)
        finally:
            redis.terminate()
            code = redis.wait(TRIAL_TIME)
        if socket.exists() or not code:
            return
        output.seek(0)
        said = [line.strip() for line in output.read().decode(errors="replace").splitlines() if line.strip()]
        raise ConfigError(f"{service.name}: `{' '.join(argv)}`: {'; '.join(said[:4])}", HINT)
