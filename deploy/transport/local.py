"""This machine as a host: for tests, and for a deploy to the machine itself."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from deploy.transport.base import KILLED, TAIL, Process, Transport, left
from lib.errors import UnreachableError

LINGER = 1.0
"""Seconds for a program that was let go to end before it is left to itself."""

STEP = 0.2
"""Seconds until a wait looks whether another thread has closed what it waits for."""


class LocalTransport(Transport):
    """Starts programs as children, each in a session of its own."""

    def __init__(self, address: str = "local") -> None:
        self.address = address
        self._processes: list[LocalProcess] = []

    def start(self, argv: Sequence[str], *, timeout: float = 10.0) -> LocalProcess:
        """Start a program by way of `sh`, as sshd does: one that is not there is exit code 127."""
        try:
            child = subprocess.Popen(
                ["/bin/sh", "-c", 'exec "$@"', "sh", *argv],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise UnreachableError(f"{self.address}: cannot start {argv[0]}: {error.strerror}") from error
        process = LocalProcess(child)
        self._processes = [*(one for one in self._processes if not one.closed), process]
        return process

    def close(self) -> None:
        """Let go of everything that was started."""
        for process in self._processes:
            process.close()


class LocalProcess(Process):
    """A child with three pipes; a thread of its own keeps the last of its error output."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdin and child.stdout and child.stderr  # noqa: S101 -- all three are pipes
        self._child = child
        self._input, self._output, self._errors = child.stdin, child.stdout, child.stderr
        for stream in (self._input, self._output):
            os.set_blocking(stream.fileno(), False)
        self._lock = threading.Lock()
        self._tail = b""
        self.closed = False
        self._reader = threading.Thread(target=self._keep_tail, daemon=True)
        self._reader.start()

    def write(self, data: bytes, deadline: float) -> None:
        """Give it all of `data`."""
        rest = memoryview(data)
        while rest:
            if not self._ready(self._input, select.POLLOUT, deadline):
                raise BrokenPipeError
            with self._lock, suppress(BlockingIOError):
                if self._input.closed:
                    raise BrokenPipeError
                rest = rest[os.write(self._input.fileno(), rest) :]

    def end_input(self) -> None:
        """Close the pipe."""
        with self._lock, suppress(OSError):
            self._input.close()

    def read(self, size: int, deadline: float) -> bytes:
        """What is there, or comes before the deadline."""
        while self._ready(self._output, select.POLLIN, deadline):
            with self._lock, suppress(BlockingIOError):
                return b"" if self._output.closed else os.read(self._output.fileno(), size)
        return b""

    def tail(self) -> str:
        """The last of its error output."""
        if self._child.poll() is not None:
            self._reader.join(1)  # what it wrote last may still be in the pipe
        return self._tail.decode(errors="replace")

    def wait(self, deadline: float) -> int:
        """Its exit code."""
        try:
            code = self._child.wait(left(deadline))
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        return KILLED if code < 0 else code

    def kill(self) -> None:
        """End it with all of its session."""
        if self._child.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close the pipes; one that reads its input ends by that, and is waited for a little."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            for stream in (self._input, self._output):
                with suppress(OSError):
                    stream.close()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(LINGER)

    def _ready(self, stream: IO[bytes], wanted: int, deadline: float) -> bool:
        """Wait until `stream` can be used; False where it was closed meanwhile, by another thread."""
        poll = select.poll()
        with self._lock:
            if stream.closed:
                return False
            poll.register(stream.fileno(), wanted)
        while not poll.poll(min(left(deadline), STEP) * 1000):
            if stream.closed:
                return False
        return True

    def _keep_tail(self) -> None:
        while part := self._errors.read(TAIL):
            self._tail = (self._tail + part)[-TAIL:]
        self._errors.close()
