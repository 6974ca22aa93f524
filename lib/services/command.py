"""A service that is any command: an application's worker, a web server, a line of a Procfile."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from lib import https_probe
from lib.config import Live, Ready
from lib.duration import seconds
from lib.errors import ConfigError, MissingError
from lib.services.base import Service
from lib.supervisor.spec import Probe, ProcessSpec

SHELL = "/bin/sh"

NO_PORT = "http://localhost:0/"

VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


class Command(Service):
    """One or more processes of a command; each has its own port when the service has one."""

    kind = "command"

    def processes(self, given: Mapping[str, str]) -> list[ProcessSpec]:
        """One a number, from 1.

        Raises: MissingError for a program or folder that is not there, TakenError for a port.
        """
        cwd = self.context.instance.directory / Path(self.config.cwd).expanduser()
        if not cwd.is_dir():
            raise MissingError(f"services.{self.name}.cwd: no folder {cwd}", "make it, or correct cwd")
        return [self._process(number, cwd, given) for number in range(1, self.config.processes + 1)]

    def _process(self, number: int, cwd: Path, given: Mapping[str, str]) -> ProcessSpec:
        ports = self._ports(number)
        env = {"PORT": str(ports[0])} if ports else {}
        argv = self._argv({**given, **env}, cwd)
        ready = self._ready(ports)
        return self.process(
            number, argv, env=env, cwd=cwd, ports=ports, ready=ready, listen=self._listen(cwd)
        )

    def _listen(self, cwd: Path) -> tuple[str, ...]:
        given = self.config.listen
        values = given if isinstance(given, list) else [] if given is None else [given]
        return tuple(listen_address(value, cwd) for value in values)

    def _ports(self, number: int) -> tuple[int, ...]:
        wanted = self.config.port
        if wanted is None:
            return ()
        # A fixed port is the first process's; the others follow it, as foreman's do.
        fixed = 0 if wanted == "auto" else wanted + number - 1
        return (self.context.port(f"{self.name}.{number}", fixed),)

    def _argv(self, env: Mapping[str, str], cwd: Path) -> list[str]:
        command = self.config.command or ""
        if self.config.shell:
            return [SHELL, "-c", str(command)]
        argv = [expand(word, env) for word in self._words(command)]
        # As exec will look for it: a path from the folder that it runs in, a name on its own PATH.
        program = str(cwd / argv[0]) if "/" in argv[0] else argv[0]
        if shutil.which(program, path=env.get("PATH")) is None:
            hint = missing_hint(argv[0], cwd, self.context.known_hint)
            raise MissingError(f"services.{self.name}.command: no program {argv[0]!r}", hint)
        return argv

    def _words(self, command: str | list[str]) -> list[str]:
        try:
            words = shlex.split(command) if isinstance(command, str) else list(command)
        except ValueError as error:
            raise ConfigError(
                f"{self._where}.command: {error}", "close the quotation, or write the command as a list"
            ) from error
        if not words or not words[0]:
            raise ConfigError(f"{self._where}.command: names no program", "as python worker.py")
        if any("\0" in word for word in words):
            raise ConfigError(f"{self._where}.command: holds a zero byte", "write the command without it")
        return words

    @property
    def _where(self) -> str:
        return f"{self.context.instance.config_file}: services.{self.name}"

    def _ready(self, ports: tuple[int, ...]) -> Probe | None:
        ready = self.config.ready
        if ready is None:
            # A port that a service declares is a promise: it is ready once somebody listens there.
            return Probe(kind="tcp", target=f"localhost:{ports[0]}") if ports else None
        if not ports and isinstance(ready.http, str) and http_target(ready.http, 0).startswith(NO_PORT):
            raise ConfigError(
                f"{self._where}.ready.http: a path alone needs a port of the service",
                "add port: auto, or write the whole URL",
            )
        return make_probe(ready, ports[0] if ports else 0)


def missing_hint(program: str, cwd: Path, known_hint: Callable[[str], str]) -> str:
    """What to do about a `program` that is not there; `known_hint` knows those of other kinds of services."""
    if (cwd / program).is_file():
        if "/" not in program:
            return f"a file of this folder is called by its path: ./{program}"
        return f"make it executable: chmod +x {cwd / program}"
    return known_hint(program) or "install it, or give its path; shell: true has a shell run it"


def expand(word: str, env: Mapping[str, str]) -> str:
    """`word` with `$NAME` and `${NAME}` replaced where `env` has the name; others stay as they are."""
    return VARIABLE.sub(lambda found: env.get(found[1] or found[2], found[0]), word)


def make_probe(ready: Ready, port: int) -> Probe:
    """The probe of a `ready:` section; `port` (0: none) completes an address that names none."""
    if ready.http is not None:
        probe = http_probe(http_target(ready.http, port), seconds(ready.timeout))
    elif ready.tcp is not None:
        probe = Probe(kind="tcp", target=tcp_target(ready.tcp), send=ready.send, expect=ready.expect)
    elif ready.exec is not None:
        argv = [SHELL, "-c", ready.exec] if isinstance(ready.exec, str) else ready.exec
        probe = Probe(kind="exec", argv=tuple(argv))
    elif ready.redis is not None:
        probe = Probe(kind="tcp", domain="redis", target=tcp_target(ready.redis))
    elif ready.postgres is not None:
        probe = Probe(kind="tcp", domain="postgres", target=tcp_target(ready.postgres))
    elif ready.log is not None:
        probe = Probe(kind="log", target=ready.log)
    else:
        probe = Probe(kind="notify")
    return msgspec.structs.replace(
        probe, interval=seconds(ready.interval), timeout=seconds(ready.timeout),
        deadline=seconds(ready.deadline), period=seconds(ready.period), failures=ready.failures,
    )  # fmt: skip


def live_probe(live: Live, port: int) -> Probe:
    """The probe of a `live:` section."""
    ready = Ready(
        tcp=live.tcp, http=live.http, exec=live.exec, send=live.send, expect=live.expect,
        timeout=live.timeout, period=live.period, failures=live.failures,
    )  # fmt: skip
    return make_probe(ready, port)


def listen_address(value: int | str, cwd: Path) -> str:
    """`8000`, `host:8000` or `unix:path` as an address to listen on; a port alone means this machine only."""
    if isinstance(value, int) or value.isdigit():
        return f"127.0.0.1:{value}"
    if value.startswith("unix:"):
        return f"unix:{cwd / value.removeprefix('unix:')}"
    return value


def http_probe(url: str, timeout: float) -> Probe:
    """The probe of an http or https URL."""
    if url.startswith("https:"):
        return Probe(kind="exec", target=url, argv=(*https_probe.LAUNCHER, url, f"{timeout:g}"))
    return Probe(kind="http", target=url)


def tcp_target(value: int | str) -> str:
    """`6379`, `host:6379` or `unix:/path`, as an address to connect to."""
    return value if isinstance(value, str) and (":" in value) else f"localhost:{value}"


def http_target(value: int | str, port: int) -> str:
    """`/path` on the service's own port, a port number, or a whole URL, as a URL."""
    if isinstance(value, str) and value.startswith(("http://", "https://", "http+unix:")):
        return value
    if isinstance(value, int) or value.isdigit():
        return f"http://localhost:{value}/"
    return f"http://localhost:{port}/{value.removeprefix('/')}"
