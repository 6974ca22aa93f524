"""What every way to a host can do: start a program there, talk to it, put a file, end. All with deadlines."""

from __future__ import annotations

import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from lib.errors import StorageError, UnreachableError

TAIL = 8192
"""Bytes of a program's error output that are kept: its last."""
CHUNK = 1 << 16
KILLED = -1
"""The exit code of a program that a signal ended."""
PUT = 'umask 077; cat > "$1" && chmod "$3" "$1" && mv -f "$1" "$2" || { rm -f "$1"; exit 1; }'
"""Beside its place first, then renamed: whoever reads sees the old or the new file."""


@dataclass(frozen=True)
class Done:
    """What a program left: its exit code (KILLED where a signal ended it), its output, the last of stderr."""

    code: int
    out: bytes
    err: str


class Process(ABC):
    """A program that runs on a host. A `deadline` is a time of time.monotonic().

    One thread may write while another reads; any may close.
    """

    @abstractmethod
    def write(self, data: bytes, deadline: float) -> None:
        """Give it all of `data` on its standard input.

        Raises: TimeoutError; BrokenPipeError where it does not read any more.
        """

    @abstractmethod
    def end_input(self) -> None:
        """Nothing more comes on its standard input."""

    @abstractmethod
    def read(self, size: int, deadline: float) -> bytes:
        """1 to `size` bytes of its standard output, none at the end (also where the connection was lost).

        Raises: TimeoutError.
        """

    @abstractmethod
    def tail(self) -> str:
        """The last of its error output until now."""

    @abstractmethod
    def wait(self, deadline: float) -> int:
        """Its exit code; KILLED where a signal ended it.

        Raises: TimeoutError; UnreachableError where the connection was lost.
        """

    @abstractmethod
    def kill(self) -> None:
        """End it and its children now; harmless when it has ended.

        Over SSH it is asked for: OpenSSH does it from 7.9 on, but not for root.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of it: its standard input ends, nobody reads its output, and what it does it may finish."""


class Transport(ABC):
    """A way to a host. `address` is what messages call it."""

    address: str

    @abstractmethod
    def start(self, argv: Sequence[str], *, timeout: float) -> Process:
        """Start a program. One that is not there ends with exit code 127, as in a shell.

        Raises: UnreachableError.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of all that was started, and end the connection; harmless when it has ended."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def run(self, argv: Sequence[str], input: bytes = b"", *, timeout: float) -> Done:
        """Run a program to its end, within `timeout` seconds.

        Raises: UnreachableError, also where the time is over; the program is then killed.
        """
        deadline = time.monotonic() + timeout
        process = self.start(argv, timeout=timeout)
        feeder = threading.Thread(target=_feed, args=(process, input, deadline), daemon=True)
        try:
            feeder.start()
            parts = []
            while part := process.read(CHUNK, deadline):
                parts.append(part)
            return Done(process.wait(deadline), b"".join(parts), process.tail())
        except TimeoutError:
            process.kill()
            raise UnreachableError(f"{self.address}: {argv[0]} did not end within {timeout:g} s") from None
        finally:
            process.close()
            feeder.join()

    def put(self, path: str, data: bytes, mode: int = 0o644, *, timeout: float = 60.0) -> None:
        """Make or replace the file `path` in one step; at no moment is it wider than `mode`.

        Raises: UnreachableError; StorageError where it cannot be written.
        """
        aside = f"{path}.{secrets.token_hex(4)}"
        done = self.run(["sh", "-c", PUT, "sh", aside, path, f"{mode:o}"], data, timeout=timeout)
        if done.code != 0:
            reason = done.err.strip().rpartition("\n")[2] or f"exit code {done.code}"
            raise StorageError(f"{self.address}: cannot write {path}: {reason}")


def left(deadline: float) -> float:
    """Seconds until `deadline`.

    Raises: TimeoutError when there are none.
    """
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def _feed(process: Process, data: bytes, deadline: float) -> None:
    try:
        process.write(data, deadline)
        process.end_input()
    except OSError:
        return  # it does not want it, or the time is over: whoever reads finds out
