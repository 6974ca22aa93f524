"""Starting one process of the plan: its output, the sockets it is handed, its limits."""

from __future__ import annotations

import os
import pty
import tty
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lib.supervisor import limits
from lib.supervisor.child import Child, Children, Exit
from lib.supervisor.identity import Identity
from lib.supervisor.listeners import Listeners
from lib.supervisor.output import OutputPipe, ServiceLog, Watch
from lib.supervisor.spec import ProcessSpec

STREAMS = ("out", "err")


class _Gate:
    """A child waits behind it, reading its standard input, until its limits are set."""

    def __init__(self) -> None:
        """Raises: OSError."""
        self.reader, self._writer = os.pipe2(os.O_CLOEXEC)

    def open(self) -> None:
        """Let the child go on."""
        with suppress(OSError):
            os.write(self._writer, b"\n")
        self.close()

    def close(self) -> None:
        """A child that still waits ends."""
        os.close(self.reader)
        os.close(self._writer)


class Spawned(NamedTuple):
    """A child and the ends of its output."""

    child: Child
    pipes: list[OutputPipe]


def fifo(folder: Path, name: str, spawn: int, stream: str) -> Path:
    """Where the named pipe of a stream of the `spawn`th child of process `name` is."""
    return folder / f"{name}-{spawn}.{stream}"


def spawn(
    spec: ProcessSpec, env: Mapping[str, str], number: int, *, children: Children, listeners: Listeners,
    folder: Path, log: ServiceLog, watch: Watch | None, umask: int, ended: Callable[[Exit], None],
    cgroup: str, who: Identity,
) -> Spawned:  # fmt: skip
    """Start `spec` as its `number`th child; named pipes of its output are made in `folder`.

    Raises: OSError; nothing is left then.
    """
    pipes: list[OutputPipe] = []
    gate: _Gate | None = None
    try:
        if spec.pty:
            pipes.append(_terminal(log, spec.number, watch))
        else:
            pipes.extend(
                OutputPipe(log, spec.number, stream, watch, fifo(folder, spec.name, number, stream))
                for stream in STREAMS
            )
        gate = _Gate() if limits.are_set(spec.limits) else None
        child = children.start(
            spec.argv, ended, cwd=spec.cwd, env=env, stdout=pipes[0].writer, stderr=pipes[-1].writer,
            umask=umask if spec.limits.umask < 0 else spec.limits.umask, who=who,
            listen=[listeners.get(address) for address in spec.listen],
            gate=-1 if gate is None else gate.reader,
        )  # fmt: skip
    except BaseException:
        if gate is not None:
            gate.close()
        for pipe in pipes:
            pipe.started()
            pipe.close()
        raise
    for pipe in pipes:
        pipe.started()
    for problem in limits.apply(spec.limits, child.pid, cgroup):
        log.say(spec.number, f"limit not set: {problem}")
    if gate is not None:
        gate.open()
    return Spawned(child, pipes)


def reopen(
    spec: ProcessSpec, number: int, folder: Path, log: ServiceLog, watch: Watch | None
) -> list[OutputPipe]:
    """The output of a child that an earlier supervisor started, read on; what is not there is left out."""
    pipes = []
    for stream in STREAMS:
        path = fifo(folder, spec.name, number, stream)
        if path.is_fifo():
            pipe = OutputPipe(log, spec.number, stream, watch, path)
            pipe.started()
            pipes.append(pipe)
    return pipes


def _terminal(log: ServiceLog, number: int, watch: Watch | None) -> OutputPipe:
    master, slave = pty.openpty()
    # Lines as they are written: no carriage returns put in, nothing echoed.
    tty.setraw(slave)
    for handle in (master, slave):
        os.set_inheritable(handle, False)
    return OutputPipe.over(log, number, "out", watch, master, slave)
