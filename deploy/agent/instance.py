"""The instance on this host: started, asked and stopped by its own `ampzero`, never by signals."""

from __future__ import annotations

import json
import os
import pwd
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.agent import command, durable, probe
from deploy.agent.driver import Drivers, NoDriverError
from deploy.agent.errors import AgentError
from deploy.agent.layout import Layout

CODELESS = ("nginx", "redis", "keyspace")
"""Kinds of services that run none of the instance's code: a switchover need not stop them."""
ASK_TIME = 15.0
STOP_TIME = 150.0
"""Seconds: each service has its own deadline, after which it is killed."""
LOOK = 0.1
NOT_READY, NOT_RUNNING = 6, 10
"""Exit codes of lib/errors.py."""
LARGEST_STATUS = 4 * 1024 * 1024
NOT_HANDED_ON = ("AMPZERO_", "PYTHON", "SSH_", "LISTEN_", "NOTIFY_SOCKET")
"""Beginnings of variables that are this agent's own, its login's, or of what started its keeper."""

Said = Callable[[str], None]


class InstanceControl:
    """The instance `name`; what its commands print goes to `said`. Whoever gives `drivers` closes them."""

    def __init__(
        self, layout: Layout, name: str, said: Said | None = None, drivers: Drivers | None = None
    ) -> None:
        self._layout = layout
        self._said = said
        self._drivers = drivers or Drivers()
        self.var = layout.instance_var(name)

    def is_running(self) -> bool:
        """Whether a supervisor holds the instance's lock."""
        return durable.is_held(self.var / "run" / "lock")

    def crashed(self) -> bool:
        """Whether its last supervisor was killed: it takes its journal away when it ends (lib/supervisor)."""
        return not self.is_running() and (self.var / "state" / "journal").exists()

    def start(self, release: str, deadline: float, *, may_stop: bool = False) -> None:
        """Have the live trees run as `release`, whatever runs now.

        A supervisor of another version of the tool is replaced by `run`, which takes its processes back; what
        the new files change is replaced one after the other by `reload`. Where it cannot be replaced, and no
        users would notice (`may_stop`), everything is stopped and started.

        Raises: AgentError.
        """
        until = time.monotonic() + deadline
        was_running = self.is_running()
        if not was_running or not self._is_of_this_tool():
            good = (0, NOT_READY) if was_running else (0,)
            try:
                self._ampzero("run", "--server", release=release, deadline=deadline, good=good)
            except AgentError:
                if not (was_running and may_stop):
                    raise
                self.stop()
                self._ampzero("run", "--server", release=release, deadline=max(1.0, until - time.monotonic()))
                return
        if was_running:
            self._ampzero("reload", release=release, deadline=max(1.0, until - time.monotonic()))

    def _is_of_this_tool(self) -> bool:
        """Whether the supervisor runs from the tree of the tool that is live now."""
        try:
            pid = int((self.var / "run" / "lock").read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return False
        tree = os.fsencode(self._layout.link("ampify").resolve()) + b"/"
        return any(word.startswith(tree) for word in words)

    def start_services(self, names: list[str], release: str, deadline: float) -> None:
        """Start services that were stopped; those that are not there any more are passed over.

        Raises: AgentError.
        """
        status = self.status() or {}
        stopped = [each["name"] for each in status.get("services", []) if each["state"] == "stopped"]
        if chosen := [name for name in names if name in stopped]:
            self._ampzero("start", *chosen, release=release, deadline=deadline)

    def stop_services(self, names: list[str]) -> None:
        """Stop some services, and keep the others up.

        Raises: AgentError.
        """
        if names:
            self._ampzero("stop", *names, deadline=STOP_TIME)

    def stop(self) -> None:
        """End the whole instance; harmless where it does not run.

        Raises: AgentError.
        """
        self._ampzero("stop", deadline=STOP_TIME, good=(0, NOT_RUNNING))

    def check(self, ampify: Path, instance: Path, release: str, deadline: float) -> None:
        """Have trees that are not live yet checked as a whole: configuration, ports, programs, nginx -t.

        Raises: AgentError with what is wrong.
        """
        done, _ = self._drive(
            ampify,
            ["run", "--server", "--dry-run", f"--as={self._layout.link('instance')}", str(instance)],
            self._environment(release),
            deadline,
        )
        if done.code:
            raise AgentError(f"the new release cannot run here: {_said(done)}", "", max(done.code, 1))

    def status(self) -> dict[str, Any] | None:
        """What `ampzero status --json` tells; None where it does not run.

        Raises: AgentError.
        """
        if not self.is_running():
            return None
        argv = [*self._argv("status"), "--json"]
        done, said = self._drive(self._layout.link("ampify"), argv, self._environment(""), ASK_TIME)
        if done.code == NOT_RUNNING:
            return None
        if done.code not in (0, NOT_READY):
            raise AgentError(f"the instance does not say how it is: {_said(done)}")
        return parse_status(said.encode())

    def code_services(self, status: dict[str, Any]) -> list[str]:
        """The services in a status which run the instance's code, and are wanted to run."""
        found = status["services"]
        return [each["name"] for each in found if each["kind"] not in CODELESS and each["state"] != "stopped"]

    def drain(self, status: dict[str, Any], seconds: float) -> None:
        """Wait until nginx has no request under way, `seconds` at most."""
        folder = Path(status["sockets"]["control"]).parent
        names = [each["name"] for each in status["services"] if each["kind"] == "nginx"]
        probe.drain([folder / f"{name}.sock" for name in names], seconds)

    def wait_healthy(self, release: str, deadline: float, *, is_open: bool) -> list[int]:
        """Return when every process is ready, runs `release`, and users get what they should; their ports.

        Raises: AgentError that says what was not so at the end.
        """
        until = time.monotonic() + deadline
        while True:
            status = self.status()
            why = unwell(status, release, is_open=is_open)
            if not why:
                return ports(status)
            if time.monotonic() > until:
                raise AgentError(f"not healthy after {deadline:g} s: {why}", "read its log", NOT_READY)
            time.sleep(LOOK)

    def unwell(self, release: str, *, is_open: bool) -> str:
        """Why the instance is not healthy with `release` (empty: with any); empty where it is.

        Raises: AgentError.
        """
        return unwell(self.status(), release, is_open=is_open)

    def _ampzero(self, verb: str, *words: str, deadline: float, release: str = "",
                 good: tuple[int, ...] = (0,)) -> None:  # fmt: skip
        link = self._layout.link("ampify")
        done, _ = self._drive(link, self._argv(verb, *words), self._environment(release), deadline)
        if self._said is not None:
            for line in done.tail:
                self._said(line)
        if done.code not in good:
            raise AgentError(f"`ampzero {verb}` failed: {_said(done)}", "", max(done.code, 1))

    def _argv(self, verb: str, *words: str) -> list[str]:
        options = [word for word in words if word.startswith("--")]
        others = [word for word in words if not word.startswith("--")]
        return [verb, *options, str(self._layout.link("instance")), *others]

    def _drive(self, ampify: Path, argv: list[str], env: dict[str, str],
               deadline: float) -> tuple[command.Done, str]:  # fmt: skip
        """Run a command line with the tool in the tree `ampify`; how it ended, and its standard output."""
        program = ampify.resolve() / "bin/ampzero"
        try:
            code, out, err = self._drivers.of(program).run(argv, env=env, deadline=deadline)
        except NoDriverError:
            parts: list[bytes] = []
            done = command.run([str(program), *argv], deadline=deadline, env=env, output=parts.append)
            return done, b"".join(parts).decode(errors="replace")
        return command.Done(code, tuple(f"{out}{err}".splitlines()[-command.TAIL :])), out

    def close(self) -> None:
        """End what was started to work for this object; the instance runs on."""
        self._drivers.close()

    def _environment(self, release: str) -> dict[str, str]:
        owner = pwd.getpwuid(os.getuid())
        found = {name: value for name, value in os.environ.items() if not name.startswith(NOT_HANDED_ON)}
        found |= {"USER": owner.pw_name, "LOGNAME": owner.pw_name, "AMPZERO_ROOT": str(self._layout.var)}
        found.setdefault("HOME", owner.pw_dir)
        if release:
            found["AMPZERO_RELEASE"] = release
        return found


def unwell(status: dict[str, Any] | None, release: str, *, is_open: bool) -> str:
    """What a status, and what users get, say against the instance's health."""
    if status is None:
        return "it does not run"
    said = status.get("release")
    if said and release and said != release:
        return f"it runs the release {said}"
    for service in status["services"]:
        for process in service["processes"]:
            if process["state"] not in ("ready", "completed", "scheduled"):
                return f"{process['name']} is {process['state']}: {process['reason']}"
    return probe.refusal(ports(status), is_open=is_open)


def ports(status: dict[str, Any] | None) -> list[int]:
    """Where users come in."""
    services = status["services"] if status else []
    return [port for service in services if service["kind"] == "nginx"
            for process in service["processes"] for port in process["ports"]]  # fmt: skip


def parse_status(data: bytes) -> dict[str, Any]:
    """The status in a command's output, with the keys that are used here.

    Raises: AgentError.
    """
    try:
        status = json.loads(data[:LARGEST_STATUS])
        for service in status["services"]:
            _ = service["name"], service["kind"], service["state"]
            for process in service["processes"]:
                _ = process["name"], process["state"], process["reason"], process["ports"]
        _ = status["sockets"]["control"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AgentError(f"`ampzero status` makes no sense: {error!r}") from error
    return dict(status)


def _said(done: command.Done) -> str:
    """The error in a command's output: `ampzero: error: …` where there is one, else its last line."""
    for line in done.tail:
        if line.startswith("ampzero: error: "):
            return line.removeprefix("ampzero: error: ")
    return done.last
