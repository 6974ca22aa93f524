"""Starting a supervisor's process, in the background or in place of this one, and hearing how it goes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from lib.errors import BY_EXIT_CODE, AmpzeroError, NotReadyError
from lib.files import storage_errors
from lib.supervisor import handover
from lib.supervisor.launch import Launch, Report

MAIN = Path(__file__).with_name("__main__.py")

ERROR_TAIL = 400
"""Characters of a supervisor's own error output that are shown when it died at its start."""


def argv(name: str) -> list[str]:
    """The command line of the supervisor of the instance `name`, free of PYTHON* variables."""
    return [sys.executable, "-E", "-P", str(MAIN), name]


def replace_process(launch: Launch) -> None:
    """Become the supervisor, in the foreground; does not return."""
    ours, its = socket.socketpair()
    handover.send(ours, launch)
    os.dup2(its.fileno(), 0)
    sys.stdout.flush()
    command = argv(launch.plan.name)
    os.execv(command[0], command)  # noqa: S606 -- no shell is wanted


class Starting:
    """A supervisor's process in the background, in a session of its own. It loads while its plan is made.

    A context: what leaves it with an error before the plan was handed over, or with Ctrl-C, ends the process.
    """

    def __init__(self, name: str, errors: Path) -> None:
        """Start it for the instance `name`; the file `errors` gets its own error output.

        Raises: StorageError.
        """
        self._errors = errors
        self._told = False
        self._channel, its = socket.socketpair()
        self._reports = self._channel.makefile("rb")
        with storage_errors(errors), its, open(errors, "wb", opener=_private) as output:
            self._process = subprocess.Popen(
                argv(name), stdin=its.fileno(), stdout=output, stderr=output, cwd="/", start_new_session=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reports.close()
        self._channel.close()
        if isinstance(error, KeyboardInterrupt) or not self._told:
            # Nothing is ready yet, so there is nothing to leave behind.
            self._process.terminate()
            self._process.wait()

    def until_loaded(self) -> None:
        """Return when the process has loaded all that it needs, and waits for what to run.

        Raises: AmpzeroError when it could not.
        """
        with suppress(ConnectionResetError):
            if self._reports.readline():
                return
        raise self._died()

    def run(self, launch: Launch) -> None:
        """Hand it what to run; close your descriptors that `launch` names afterwards."""
        self._told = True
        # One that died already is found by `wait`.
        with suppress(BrokenPipeError):
            handover.send(self._channel, launch)

    def wait(self, heard: Callable[[Report], None]) -> None:
        """Return when everything is ready; `heard` gets each report.

        Raises: the AmpzeroError that the supervisor ended with, after it has stopped everything again.
        """
        if self._listen(heard):
            # It outlives us: Popen must not complain that nobody waited for it.
            self._process.returncode = 0
            return
        raise self._died()

    def _died(self) -> AmpzeroError:
        code = self._process.wait()
        said = self._errors.read_text(errors="replace").strip()[-ERROR_TAIL:]
        last = said.splitlines()[-1] if said else f"exit code {code}"
        return AmpzeroError(f"the supervisor ended before it was ready: {last}", f"read {self._errors}")

    def _listen(self, heard: Callable[[Report], None]) -> bool:
        with suppress(ConnectionResetError):
            for line in self._reports:
                report = msgspec.json.decode(line, type=Report)
                if report.error:
                    if not report.runs_on:
                        self._process.wait()
                    self._process.returncode = self._process.returncode or 0
                    if report.service:
                        raise NotReadyError(report.error, report.hint, report.service)
                    error = BY_EXIT_CODE.get(report.exit_code, AmpzeroError)(report.error, report.hint)
                    error.exit_code = report.exit_code
                    raise error
                if report.ready:
                    return True
                heard(report)
        return False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
