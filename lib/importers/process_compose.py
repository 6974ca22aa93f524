"""process-compose.yaml: a process becomes a service that a shell runs.

Keys: https://f1bonacc1.github.io/process-compose/configuration/
"""

from __future__ import annotations

import re
from pathlib import Path

from lib.errors import ConfigError
from lib.importers.base import Imported, Values, signal_name, surroundings
from lib.importers.yamltree import Interpolation, KeyPath, Tree

CONDITIONS = {
    "process_started": "started",
    "process_healthy": "ready",
    "process_log_ready": "ready",
    "process_completed": "completed",
    "process_completed_successfully": "completed_successfully",
}
POLICIES = {
    "": "never",
    "no": "never",
    "always": "always",
    "on_failure": "on-failure",
    "exit_on_failure": "never",
}
CARRIED = frozenset((
    "command", "entrypoint", "working_dir", "environment", "env_file", "depends_on", "availability",
    "readiness_probe", "liveness_probe", "ready_log_line", "shutdown", "replicas", "disabled", "is_tty",
    "schedule", "description", "is_foreground"
))  # fmt: skip
LOST = {
    "namespace": "services have no namespaces; name them together",
    "log_location": "the output goes into the log: ampzero logs",
    "log_configuration": "the output goes into the log: ampzero logs",
    "is_daemon": "what puts itself into the background is not watched over; keep it in the foreground",
    "launch_timeout_seconds": "a daemon is not watched over",
    "is_elevated": "a process has the rights of its user; say limits: {user: …}",
    "vars": "templates {{.NAME}} are not filled",
    "mcp": "there is nothing like it here",
}
GLOBAL = frozenset(("version", "processes", "environment", "log_level", "log_length", "log_location",
                    "is_strict", "is_tui_disabled", "name", "disable_env_expansion"))  # fmt: skip


def read(path: Path, raw: bytes) -> Imported:
    """The processes of the file.

    Raises: ConfigError.
    """
    tree = Tree(path, raw)
    found = Imported(path)
    variables = surroundings(path)
    depends: dict[str, dict[str, tuple[str, int]]] = {}
    for name in tree.keys(("processes",)):
        if _Process(found, tree, name, variables).read():
            here = ("processes", name, "depends_on")
            depends[name] = {
                other: (
                    CONDITIONS.get(tree.text((*here, other, "condition")), "started"),
                    tree.line((*here, other)),
                )
                for other in tree.keys(here)
            }
    found.depend(depends)
    for key in tree.keys(()):
        if key == "shell":
            found.lost(tree.line((key,)), key, "/bin/sh runs the commands")
        elif key not in GLOBAL:
            found.lost(tree.line((key,)), key, LOST.get(key, "only processes are read"))
    if not found.services:
        raise ConfigError(f"{path}:1: no process in this file", "processes: {NAME: {command: …}}")
    return found


class _Process:
    """One process of the file on its way."""

    def __init__(self, found: Imported, tree: Tree, name: str, variables: dict[str, str]) -> None:
        self.found = found
        self.tree = tree
        self.name = name
        self.here = ("processes", name)
        self.variables = variables
        self.secrets: dict[str, str] = {}
        self.values: Values = {}

    def read(self) -> bool:
        """Add it to what was found; False when it cannot be carried over."""
        tree = self.tree
        if tree.flag((*self.here, "disabled")):
            self._lost("disabled", "it does not run")
            return False
        if tree.has((*self.here, "entrypoint")):
            self.values["command"] = tree.texts((*self.here, "entrypoint"))
        elif tree.text((*self.here, "command")).strip():
            # `$$` is its way to leave a $ to the shell; every other $NAME the shell fills as well.
            self.values["command"] = tree.text((*self.here, "command")).replace("$$", "$")
            self.values["shell"] = True
        else:
            self._lost("command", "it has none")
            return False
        if not all(str(word).strip() for word in self.values["command"][:1]):
            raise tree.document.error((*self.here, "entrypoint"), "is empty")
        if "{{" in str(self.values["command"]):
            self._lost("command", "templates {{.NAME}} are not filled")
        self._environment()
        if folder := tree.text((*self.here, "working_dir")):
            self.values["cwd"], _ = self._fill(folder, (*self.here, "working_dir"))
        if (count := tree.count((*self.here, "replicas"), 1)) != 1:
            self.values["processes"] = count
        if tree.flag((*self.here, "is_tty")):
            self.values["pty"] = True
        self._ending()
        self._probes()
        if cron := tree.text((*self.here, "schedule", "cron")):
            self.values["schedule"] = cron
        elif tree.has((*self.here, "schedule")):
            self._lost("schedule", "only cron: … is a schedule here")
        for key in tree.keys(self.here):
            if key not in CARRIED:
                self._lost(key, LOST.get(key, "unknown here"))
        added = self.found.add(self.name, tree.line(self.here), self.values)
        if self.secrets:
            self.found.secrets[added] = self.secrets
        return True

    def _lost(self, key: str, why: str) -> None:
        self.found.lost(self.tree.line((*self.here, *key.split("."))), f"{self.name}.{key}", why)

    def _fill(self, text: str, path: KeyPath) -> tuple[str, bool]:
        """`text`, which stands at `path`, with its variables; and whether it had any."""
        filling = Interpolation(self.variables)
        try:
            return filling.fill(text), bool(filling.used)
        except ConfigError as error:
            raise self.tree.document.error(path, error.message, error.hint) from error

    def _environment(self) -> None:
        own: dict[str, str] = {}
        for path in (("environment",), (*self.here, "environment")):
            for key, (value, _) in self.tree.pairs(path).items():
                filled, is_secret = self._fill(value or "", path)
                own.pop(key, None)
                self.secrets.pop(key, None)
                (self.secrets if is_secret else own)[key] = filled
        if own:
            self.values["env"] = own
        files = self.tree.texts((*self.here, "env_file"))
        if (self.found.file.parent / ".env").is_file():
            files = [".env", *files]  # process-compose hands it to every process
        if files:
            self.values["env_file"] = files

    def _ending(self) -> None:
        tree, here = self.tree, (*self.here, "availability")
        wanted = tree.text((*here, "restart"))
        if wanted not in POLICIES:
            raise tree.document.error((*here, "restart"), f"is none of {', '.join(filter(None, POLICIES))}")
        if wanted == "exit_on_failure":
            self._lost("availability.restart", "its failure does not end the others")
        restart: Values = {"policy": POLICIES[wanted]}
        if backoff := tree.number((*here, "backoff_seconds"), 0):
            restart["initial"] = backoff
            restart["max"] = max(30.0, backoff)
        if most := tree.count((*here, "max_restarts"), 0, 10**6):
            restart["give_up"] = {"times": most}
        self.values["restart"] = restart
        for key in tree.keys(here):
            if key not in ("restart", "backoff_seconds", "max_restarts"):
                self._lost(f"availability.{key}", "the end of one service does not end the others")
        down = (*self.here, "shutdown")
        stop: Values = {}
        if signal := tree.text((*down, "signal")):
            stop["signal"] = signal_name(signal)
            if not stop["signal"]:
                raise tree.document.error((*down, "signal"), "there is no such signal")
        if tree.has((*down, "timeout_seconds")):
            stop["timeout"] = tree.number((*down, "timeout_seconds"), 10)
        if stop:
            self.values["stop"] = stop
        for key in tree.keys(down):
            if key not in ("signal", "timeout_seconds"):
                self._lost(f"shutdown.{key}", "a signal asks a process to end, and its whole tree")

    def _probes(self) -> None:
        if line := self.tree.text((*self.here, "ready_log_line")):
            self.values["ready"] = {"log": re.escape(line)}
        ready = self._probe("readiness_probe")
        if ready:
            start = self.tree.number((*self.here, "readiness_probe", "initial_delay_seconds"), 0)
            ready["deadline"] = max(30.0, start + ready["period"] * ready["failures"])
            self.values["ready"] = ready
        if live := self._probe("liveness_probe"):
            self.values["live"] = live

    def _probe(self, key: str) -> Values:
        tree, here = self.tree, (*self.here, key)
        found: Values = {}
        if command := tree.text((*here, "exec", "command")):
            found["exec"] = command.replace("$$", "$")
        elif tree.has((*here, "http_get")):
            found["http"] = self._url((*here, "http_get"), key)
        if not found:
            if tree.has(here):
                self._lost(key, "it has neither exec.command nor http_get")
            return {}
        for part in ("initial_delay_seconds", "success_threshold"):
            if tree.count((*here, part), 0, 10**6) > 1:
                self._lost(f"{key}.{part}", "it is asked from the start, and one success is enough")
        found["period"] = max(1.0, tree.number((*here, "period_seconds"), 10))
        found["timeout"] = max(1.0, tree.number((*here, "timeout_seconds"), 1))
        found["failures"] = max(1, tree.count((*here, "failure_threshold"), 3, 10**6))
        return found

    def _url(self, here: KeyPath, key: str) -> str:
        tree = self.tree
        host, scheme = tree.text((*here, "host"), "localhost"), tree.text((*here, "scheme"), "http").lower()
        port, path = tree.text((*here, "port")), tree.text((*here, "path"), "/")
        url = f"{scheme}://{host}{':' + port if port else ''}/{path.removeprefix('/')}"
        url, _ = self._fill(url, (*self.here, key))
        if not re.fullmatch(r"https?://[A-Za-z0-9_.-]{1,253}(:[0-9]{1,5})?/[^\s]*", url):
            raise tree.document.error(here, "is not an address")
        return url
