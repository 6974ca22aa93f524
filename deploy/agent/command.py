"""Runs a program on the host: no shell, a deadline, its output told line by line and its end kept."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.agent.errors import AgentError

TAIL = 40
"""Lines of output that are kept."""
LINE_MAX = 4000
DRAIN_TIME = 2.0
"""Seconds to read on after the program's end: a child that it left behind may hold the pipe open."""

Said = Callable[[str], None]


@dataclass(frozen=True)
class Done:
    """How a program ended: its exit code (negative: the signal) and its last lines."""

    code: int
    tail: tuple[str, ...]

    @property
    def last(self) -> str:
        """The last thing that it said which is not blank."""
        return next((line for line in reversed(self.tail) if line.strip()), f"exit code {self.code}")


def run(argv: Sequence[str], *, deadline: float, said: Said | None = None,
        env: Mapping[str, str] | None = None, cwd: Path | None = None,
        output: Callable[[bytes], None] | None = None) -> Done:  # fmt: skip
    """Run `argv`; `said` gets each line of both outputs, or `output` the raw standard output.

    Raises: AgentError where it cannot be started, or takes more than `deadline` seconds (it is ended then).
    """
    try:
        process = subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if output else subprocess.STDOUT, env=dict(env) if env else None, cwd=cwd,
            start_new_session=True,  # the end of the agent's own session is not the end of what it started
        )  # fmt: skip
    except OSError as error:
        raise AgentError(f"cannot run {argv[0]}: {error.strerror}", exit_code=5) from error
    tail: deque[str] = deque(maxlen=TAIL)
    readers = [
        threading.Thread(target=_read_lines, args=(process.stderr or process.stdout, tail, said), daemon=True)
    ]
    if output:
        readers.append(threading.Thread(target=_read_all, args=(process.stdout, output), daemon=True))
    for reader in readers:
        reader.start()
    try:
        code = process.wait(deadline)
    except subprocess.TimeoutExpired:
        raise AgentError(f"`{' '.join(argv[:3])}` took longer than {deadline:g} s") from None
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        until = time.monotonic() + DRAIN_TIME
        for reader in readers:
            reader.join(max(0.0, until - time.monotonic()))
    return Done(code, tuple(tail))


def _read_lines(stream: object, tail: deque[str], said: Said | None) -> None:
    assert hasattr(stream, "readline")  # noqa: S101 -- the pipe that Popen was asked for
    while line := stream.readline(LINE_MAX):
        text = line.decode(errors="replace").rstrip("\r\n")
        tail.append(text)
        if said:
            said(text)


def _read_all(stream: object, output: Callable[[bytes], None]) -> None:
    assert hasattr(stream, "read1")  # noqa: S101 -- as above
    while data := stream.read1(65536):
        output(data)
