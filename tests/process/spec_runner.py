"""Runs what a service returns (files and processes) without the supervisor: for tests of one service."""

from __future__ import annotations

import atexit
import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from support import RUN_VARIABLE

from lib.certificates import Certificates
from lib.config import Config, ServiceConfig
from lib.instance import Instance
from lib.ports import PortBook
from lib.programs.known import find_program, known_hint
from lib.services import SERVICES
from lib.services.base import Context, Service
from lib.supervisor.spec import Probe, ProcessSpec


def wait_until(condition: Callable[[], bool], seconds: float = 30, what: str = "condition") -> None:
    """Wait for `condition`; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def instance_at(folder: Path, *, port: int = 8040, name: str = "tested") -> Instance:
    """An instance with nothing of its own: every service uses the files of instance_template."""
    directory = folder / name
    directory.mkdir(exist_ok=True)
    config = Config(name=name, port=port)
    instance = Instance(name, folder / "var", name, directory, directory / "amprun.yaml", config)
    if instance.sockets != instance.run:  # pytest's folders are long; then the sockets are outside of them
        atexit.register(shutil.rmtree, instance.sockets, ignore_errors=True)
    return instance


def service_of(
    instance: Instance,
    kind: str,
    *,
    config: ServiceConfig | None = None,
    server: bool = False,
    certificate: tuple[Path, Path] | None = None,
    book: PortBook | None = None,
) -> Service:
    """The service `kind` of `instance`, under its kind's name."""
    ports = book or PortBook(instance.state / "ports.json", str(instance.var))
    context = Context(
        instance=instance,
        port=ports.port,
        secret=lambda name: instance.state / name,
        launcher=("ampzero",),
        server=server,
        find_program=find_program,
        known_hint=known_hint,
    )
    if certificate:
        context = replace(context, certificates=Certificates(*certificate, *certificate))
    service = SERVICES[kind](kind, config or ServiceConfig(), context)
    # The folder that all instances share in /tmp is 0700 too, or no later run would use it.
    shared = [instance.sockets.parent] if instance.sockets != instance.run else []
    for folder in (
        *shared,
        instance.conf,
        instance.state,
        instance.run,
        instance.sockets,
        instance.data,
        *service.folders(),
    ):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return service


def write_files(service: Service, given: Mapping[str, str]) -> None:
    """Write the service's files."""
    for file in service.files(given):
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_text(file.content)
        file.path.chmod(file.mode)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float = 30) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def is_ready(probe: Probe) -> bool:
    """One try of a tcp or http probe, as lib/supervisor/spec.py words them."""
    try:
        if probe.kind == "http":
            return http_status(probe) in range(200, 400)
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(probe.timeout)
            one.connect(probe.target.removeprefix("unix:"))
            one.sendall(probe.send.encode())
            return one.recv(100).startswith(probe.expect.encode())
    except (OSError, http.client.HTTPException):
        return False


def http_status(probe: Probe) -> int:
    """The status with which an http probe's target answers."""
    scheme, _, rest = probe.target.partition(":")
    connection: http.client.HTTPConnection
    if scheme == "http+unix":
        path, _, target = rest.partition(":")
        connection = UnixConnection(path, probe.timeout)
    else:
        address, _, target = rest.removeprefix("//").partition("/")
        connection = http.client.HTTPConnection(address, timeout=probe.timeout)
        target = f"/{target}"
    try:
        connection.request("GET", target)
        return connection.getresponse().status
    finally:
        connection.close()


class Run:
    """One started process, with its output in a file and (as under the supervisor) pipes read by cat."""

    def __init__(self, spec: ProcessSpec, log: Path, user: int = 0) -> None:
        self.spec, self.log, self.user = spec, log, user
        environment = {"PATH": os.environ["PATH"], RUN_VARIABLE: os.environ.get(RUN_VARIABLE, ""), **spec.env}
        ids = {"user": user, "group": user, "extra_groups": []} if user else {}
        for argv in spec.check:
            checked = subprocess.run(
                argv,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
                **ids,
            )  # type: ignore[call-overload]  # ids are not typed
            assert checked.returncode == 0, f"{argv}: {checked.stderr}"
        for path in spec.stale:
            Path(path).unlink(missing_ok=True)
        with log.open("ab") as stream:
            self.reader = subprocess.Popen(
                ["cat"], stdin=subprocess.PIPE, stdout=stream, start_new_session=True
            )
        if user:
            os.fchown(self.reader.stdin.fileno(), user, user)  # type: ignore[union-attr]  # a pipe was asked for
        self.process = subprocess.Popen(  # type: ignore[call-overload]  # ids are not typed
            spec.argv, cwd=spec.cwd, env=environment, stdin=subprocess.DEVNULL, stdout=self.reader.stdin,
            stderr=self.reader.stdin, start_new_session=True, **ids,
        )  # fmt: skip
        assert self.reader.stdin
        self.reader.stdin.close()

    def wait_ready(self) -> None:
        """Wait for the spec's probe."""
        assert self.spec.ready

        def ready() -> bool:
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.output()}"
            return is_ready(self.spec.ready)  # type: ignore[arg-type]  # asserted above

        wait_until(ready, 30, f"{self.spec.name} ready: {self.output()}")

    def output(self) -> str:
        """What it wrote so far."""
        return self.log.read_text(errors="replace")

    def stop(self, name: str = "TERM", seconds: float = 60) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(getattr(signal, f"SIG{name}"))
        return int(self.process.wait(seconds))

    def close(self) -> None:
        """End everything that was started."""
        for one in (self.process, self.reader):
            with suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
            one.wait()


@contextmanager
def running(service: Service, given: Mapping[str, str] | None = None, user: int = 0) -> Iterator[Run]:
    """Write the service's files, release its ports, start its one process and wait until it is ready."""
    (spec,) = service.processes(given or {})
    write_files(service, given or {})
    book = getattr(service.context.port, "__self__", None)
    if isinstance(book, PortBook):
        book.release()
    run = Run(spec, service.context.instance.var / f"{service.name}.log", user)
    try:
        run.wait_ready()
        yield run
    finally:
        run.close()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, by openssl."""
    certificate, key = folder / "leaf.pem", folder / "leaf.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
         "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def trusting(certificate: Path) -> ssl.SSLContext:
    """A client's TLS settings that trust `certificate` only."""
    return ssl.create_default_context(cafile=str(certificate))
