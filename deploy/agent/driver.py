"""A warm `ampzero`: one process (lib/drive.py) that runs several command lines, one after the other.

A switchover is some eight commands on each host. To start a Python for each costs a tenth of a second of
processor every time, which is what users wait for behind the placeholder.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from deploy.agent.errors import AgentError

LARGEST = 8 * 1024 * 1024
"""Bytes of an answer."""
END_TIME = 5.0
NO_SUCH_COMMAND = 2
"""Exit code of lib/errors.py."""


class NoDriverError(AgentError):
    """The tool of an older release: it runs one command line a process."""


class Driver:
    """The `ampzero` at the path `program`, started when it is first needed. Close it."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, argv: Sequence[str], *, env: Mapping[str, str], deadline: float) -> tuple[int, str, str]:
        """Run `ampzero ARGV`; its exit code, standard output and error output.

        Raises: NoDriverError; AgentError where it cannot be started, dies, or takes more than `deadline`
        seconds.
        """
        process = self._started(env)
        assert process.stdin is not None  # noqa: S101 -- it was asked for
        asked = json.dumps({"argv": list(argv), "env": dict(env)}).encode() + b"\n"
        try:
            process.stdin.write(asked)
            process.stdin.flush()
            line = self._line(process, time.monotonic() + deadline)
        except TimeoutError:
            self._kill()
            raise AgentError(f"`ampzero {argv[0]}` took longer than {deadline:g} s") from None
        except BrokenPipeError:
            line = b""
        if not line and _code(process) == NO_SUCH_COMMAND:
            self._let_go()
            raise NoDriverError(f"{self._program} is from before `drive`")
        try:
            answer = json.loads(line)
            return int(answer["code"]), str(answer["out"]), str(answer["err"])
        except (ValueError, KeyError, TypeError) as error:
            self._kill()
            raise AgentError(f"`ampzero {argv[0]}` ended without an answer", "", 1) from error

    def close(self) -> None:
        """End it; harmless where it does not run."""
        if self._process is None:
            return
        assert self._process.stdin is not None  # noqa: S101 -- as above
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(END_TIME)
        except subprocess.TimeoutExpired:
            self._kill()
        self._let_go()

    def _started(self, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        if self._process is None:
            try:
                self._process = subprocess.Popen(
                    [str(self._program), "drive"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL, env=dict(env),
                    start_new_session=True,  # the end of the agent's session is not that of what it started
                )  # fmt: skip
            except OSError as error:
                raise AgentError(f"cannot run {self._program}: {error.strerror}", exit_code=5) from error
        return self._process

    def _line(self, process: subprocess.Popen[bytes], until: float) -> bytes:
        assert process.stdout is not None  # noqa: S101 -- as above
        handle = process.stdout.fileno()
        parts: list[bytes] = []
        size = 0
        while size <= LARGEST:
            ready, _, _ = select.select([handle], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError
            data = os.read(handle, 65536)
            parts.append(data)
            size += len(data)
            if not data or data.endswith(b"\n"):
                break
        return b"".join(parts)

    def _kill(self) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._let_go()

    def _let_go(self) -> None:
        assert self._process is not None  # noqa: S101 -- only called where it is
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        self._process = None


class Drivers:
    """The warm tools of one connection, or of one look of the keeper. Close them."""

    def __init__(self) -> None:
        self._started: dict[Path, Driver] = {}

    def of(self, program: Path) -> Driver:
        """The one for the `ampzero` at the path `program`."""
        return self._started.setdefault(program, Driver(program))

    def close(self) -> None:
        """End them all; they may be used again."""
        for driver in self._started.values():
            driver.close()


def _code(process: subprocess.Popen[bytes]) -> int | None:
    """Its exit code, where it ends soon."""
    try:
        return process.wait(END_TIME)
    except subprocess.TimeoutExpired:
        return None
