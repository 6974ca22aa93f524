"""supervisord keeps the instance where there is no systemd: the host's own, or one for it alone."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lib import running
from lib.boot import crontab
from lib.boot.base import PATIENCE, State, environment, run, run_argv
from lib.errors import AmpzeroError, MissingError, TakenError
from lib.exporters.base import Target
from lib.exporters.quoting import ini
from lib.exporters.supervisor import server
from lib.files import make_folder, storage_errors, write_atomic
from lib.starting import make_folders

STOP_TIME = 150
"""Seconds that a whole instance may take to stop."""
UP_TIME = 1
"""Seconds after which supervisord calls a program running."""
ANY = tuple(range(256))


class Supervisord:
    """One instance's program. `system` is the folder of the host's supervisord; None: it gets its own."""

    name = "supervisord"

    def __init__(self, target: Target, arguments: tuple[str, ...], system: Path | None) -> None:
        self._target = target
        self._arguments = arguments
        instance = target.instance
        self._program = f"ampzero-{instance.name}"
        self._folder = instance.var / "boot"
        self._own = system is None
        self._conf = self._folder / "supervisord.conf" if system is None else system / f"{self._program}.conf"
        self._main = self._conf if system is None else system.parent / "supervisord.conf"
        self._mark = f"ampzero:{instance.var}"

    def text(self) -> str:
        """The configuration."""
        variables = ",".join(
            f'{name}="{ini(value)}"' for name, value in environment(self._target).items() if '"' not in value
        )
        head = (
            server(str(self._folder), str(self._target.instance.sockets / "keeper.sock")) if self._own else ""
        )
        return f"""{head}
[program:{self._program}]
command={ini(shlex.join(run_argv(self._target, self._arguments)))}
directory={ini(str(self._target.instance.directory))}
environment={variables}
; A commanded stop (ampzero stop) ends well, and stays ended; a supervisor that was killed is started again.
autorestart=unexpected
exitcodes=0,9
startsecs={UP_TIME}
startretries=10
; One that died leaves its processes to the next one; a stop ends them all itself.
stopasgroup=false
killasgroup=false
stopsignal=TERM
stopwaitsecs={STOP_TIME}
stdout_logfile=NONE
stderr_logfile={ini(str(self._folder))}/errors.log
stderr_logfile_maxbytes=1MB
stderr_logfile_backups=1
"""

    def install(self) -> list[str]:
        """Write the configuration, see to the boot, start.

        Raises: MissingError (no supervisord), TakenError (it runs without a keeper), AmpzeroError.
        """
        instance = self._target.instance
        program("supervisord")
        if running.is_running(instance) and not self._conf.exists():
            raise TakenError(
                f"{instance.name} is running, and its supervisor would stand in the way of the kept one",
                "stop it first: ampzero stop",
            )
        make_folders(instance)
        make_folder(self._folder, 0o700)
        write_atomic(self._conf, self.text(), 0o600)
        said = [f"wrote {self._conf}"]
        if self._own and crontab.available():
            crontab.set_line(self._mark, crontab.line(self._boot_argv(), self._mark, self._target.path))
            said.append("added an @reboot line to your crontab")
        self.start()
        self._await_running()
        return [*said, f"supervisord keeps {instance.name} up", f"at boot: {self._at_boot()}"]

    def start(self) -> None:
        """Start supervisord when it does not run, else have it read the configuration again.

        Raises: AmpzeroError.
        """
        if self._answers():
            self._control("update")
            self._control("start", self._program, good=ANY)
        else:
            make_folders(self._target.instance)  # a folder in /tmp does not outlive a boot
            run(program("supervisord"), "-c", str(self._main))

    def remove(self) -> list[str]:
        """Stop the instance, end the supervisord that is its own, and undo the rest. Raises: AmpzeroError."""
        said = []
        if self._answers():
            self._control("stop", self._program, good=ANY)
            if self._own:
                self._control("shutdown")
                self._until(lambda: not self._answers(), "supervisord does not end")
            said.append(f"stopped {self._target.instance.name}")
        if self._conf.exists():
            with storage_errors(self._conf):
                self._conf.unlink()
            said.append(f"removed {self._conf}")
        if self._answers():
            self._control("update")
        if self._folder.is_dir():
            shutil.rmtree(self._folder, ignore_errors=True)
        if crontab.available() and crontab.set_line(self._mark, None):
            said.append("removed the @reboot line from your crontab")
        return said

    def state(self) -> State:
        """What is there, and what supervisord says."""
        installed = self._conf.exists()
        detail = "supervisord does not run"
        if installed and self._answers():
            detail = " ".join(self._control("status", self._program, good=ANY).split())
        up = any(f" {word}" in detail for word in ("RUNNING", "STARTING"))
        runs = installed and up and running.is_running(self._target.instance)
        return State(
            self.name, installed, runs, self._at_boot() if installed else "nothing starts it", detail
        )

    def _boot_argv(self) -> list[str]:
        config = self._target.instance.config_file
        what = [str(self._target.instance.directory)] if config.name == "amprun.yaml" else ["-f", str(config)]
        return [*self._target.launcher, "boot", "start", *what]

    def _at_boot(self) -> str:
        if not self._own:
            return f"the host's supervisord starts it, if that starts itself ({self._main})"
        if crontab.has(self._mark):
            return "cron starts it by the @reboot line, if a cron daemon runs here"
        command = shlex.join(self._boot_argv())
        return f"nothing starts it, for there is no crontab here; have your init run: {command}"

    def _control(self, *words: str, good: tuple[int, ...] = (0,)) -> str:
        return run(program("supervisorctl"), "-c", str(self._main), *words, good=good)

    def _answers(self) -> bool:
        """Whether the supervisord that is meant runs."""
        if not self._main.exists():
            return False
        return self._control("pid", good=ANY).strip().isdecimal()

    def _await_running(self) -> None:
        def settled() -> bool:
            return any(word in self.state().detail for word in (" RUNNING ", "FATAL", "BACKOFF", "EXITED"))

        self._until(settled, "supervisord does not start it")
        state = self.state()
        if " RUNNING " not in state.detail:
            errors = self._folder / "errors.log"
            last = errors.read_text(errors="replace").strip().splitlines()[-1:] if errors.exists() else []
            raise AmpzeroError(
                f"{self._target.instance.name} does not stay up: {' '.join(last) or state.detail}",
                f"read {errors}; ampzero boot remove undoes this",
            )

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > until:
                raise AmpzeroError(what, f"read {self._folder}/supervisord.log")
            time.sleep(0.1)


def program(name: str) -> str:
    """The path of a program of supervisor's: beside our Python first, then on PATH.

    Raises: MissingError.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise MissingError(
            f"there is no systemd here, and no {name}", f"{sys.executable} -m pip install 'ampzero[boot]'"
        )
    return found
