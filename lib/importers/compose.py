"""The process parts of compose.yaml (docker-compose): a service that says its command becomes a service.

Its containers, networks and volumes are not carried over, and are said. What a name means on the network of
the containers (`db:5432`) has to be changed by hand. Keys: https://github.com/compose-spec/compose-spec
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from lib.errors import ConfigError
from lib.importers.base import Imported, Values, signal_name, surroundings
from lib.importers.compose_limits import read_limits
from lib.importers.yamltree import Interpolation, Tree

CONDITIONS = {
    "service_started": "started",
    "service_healthy": "ready",
    "service_completed_successfully": "completed_successfully",
}
POLICIES = {"no": "never", "always": "always", "unless-stopped": "always", "on-failure": "on-failure",
            "none": "never", "any": "always", "false": "never", "": "never"}  # fmt: skip
"""Both of `restart` and of `deploy.restart_policy.condition`; compose restarts only what says so."""
CARRIED = frozenset((
    "command", "entrypoint", "environment", "env_file", "working_dir", "depends_on", "restart",
    "healthcheck", "ports", "expose", "deploy", "scale", "stop_signal", "stop_grace_period", "image",
    "build", "tty", "user", "mem_limit", "ulimits", "init", "stdin_open", "container_name"
))  # fmt: skip
"""Keys that are carried over, looked at, or need nothing here."""
NETWORK = "processes share the host's network: names of services are no host names, say localhost and a port"
LOST = {
    "volumes": "the process sees the host's files; use cwd and paths",
    "networks": NETWORK, "network_mode": NETWORK, "links": NETWORK, "extra_hosts": NETWORK, "dns": NETWORK,
    "hostname": NETWORK,
    "profiles": "use ampzero run --only",
    "extends": "write the service out",
    "secrets": "give the path of a file in env", "configs": "give the path of a file in env",
    "logging": "the output goes into the log: ampzero logs",
    "privileged": "a process has the rights of its user", "cap_add": "a process has the rights of its user",
}  # fmt: skip
DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:us|ms|s|m|h))+")


def read(path: Path, raw: bytes) -> Imported:
    """The services of the file that say a command.

    Raises: ConfigError.
    """
    tree = Tree(path, raw)
    found = Imported(path)
    variables = surroundings(path)
    if not tree.keys(("services",)):
        raise ConfigError(f"{path}:1: no services in this file")
    depends: dict[str, dict[str, tuple[str, int]]] = {}
    for name in tree.keys(("services",)):
        if _Service(found, tree, name, variables).read():
            depends[name] = _depends(tree, name)
    found.depend(depends)
    for key in tree.keys(()):
        if key not in ("services", "version", "name") and not key.startswith("x-"):
            found.lost(tree.line((key,)), key, LOST.get(key, "only the processes of services are read"))
    if not found.services:
        told = "; ".join(str(note) for note in found.notes[:3])
        raise ConfigError(f"{path}:1: no service of this file says its command: {told}",
                          "add command: …, or run the image's program as a service of its own")  # fmt: skip
    return found


def _depends(tree: Tree, name: str) -> dict[str, tuple[str, int]]:
    here = ("services", name, "depends_on")
    if not tree.is_mapping(here):
        return {other: ("started", tree.line((*here, index))) for index, other in enumerate(tree.texts(here))}
    return {
        other: (CONDITIONS.get(tree.text((*here, other, "condition")), "started"), tree.line((*here, other)))
        for other in tree.keys(here)
    }


class _Service:
    """One service of the file on its way."""

    def __init__(self, found: Imported, tree: Tree, name: str, variables: dict[str, str]) -> None:
        self.found = found
        self.tree = tree
        self.name = name
        self.here = ("services", name)
        self.variables = variables
        self.secrets: dict[str, str] = {}
        self.values: Values = {}

    def read(self) -> bool:
        """Add it to what was found; False when it cannot be carried over."""
        tree = self.tree
        if not tree.is_mapping(self.here):
            raise tree.document.error(self.here, "must be a mapping")
        words = [*self._words("entrypoint"), *self._words("command")]
        if not words:
            image = self._text("image") or "a build"
            hint = ", or `redis: {}` of the services here" if re.match(r"(\w+/)*redis\b", image) else ""
            self._lost("image" if tree.has((*self.here, "image")) else "build",
                       f"{image} says no command; install the program and say command: …{hint}")  # fmt: skip
            return False
        if tree.has((*self.here, "image")):
            self._lost("image", "the program is run from this machine, not from the image")
        self.values["command"] = words
        self._environment()
        self._folder()
        self._numbers()
        self._ending()
        self._health()
        if limits := read_limits(tree, self.here, self._text, self._lost):
            self.values["limits"] = limits
        for key in tree.keys(self.here):
            if key not in CARRIED and not key.startswith("x-"):
                self._lost(key, LOST.get(key, "there is nothing like it here"))
        added = self.found.add(self.name, tree.line(self.here), self.values)
        if self.secrets:
            self.found.secrets[added] = self.secrets
        return True

    def _lost(self, key: str, why: str) -> None:
        self.found.lost(self.tree.line((*self.here, *key.split("."))), f"{self.name}.{key}", why)

    def _fill(self, text: str, key: str, *, keep: bool = False) -> tuple[str, dict[str, str]]:
        filled = Interpolation(self.variables)
        try:
            result = filled.fill(text, keep=keep)
        except ConfigError as error:
            raise self.tree.document.error((*self.here, key), error.message, error.hint) from error
        for name in filled.unset:
            line = self.tree.line((*self.here, key))
            self.found.changed(line, f"{self.name}.{key}", f"${name} is not set; it is empty")
        return result, filled.used

    def _text(self, key: str) -> str:
        """The text at a key, filled."""
        return self._fill(self.tree.text((*self.here, *key.split("."))), key.split(".")[0])[0]

    def _words(self, key: str) -> list[str]:
        """A command: text is taken apart as compose does, a list is taken as it is."""
        path = (*self.here, key)
        texts = []
        for text in self.tree.texts(path):
            filled, used = self._fill(text, key, keep=True)
            self.secrets.update(used)
            texts.append(filled)
        if self.tree.is_list(path):
            return texts
        try:
            return [word for text in texts for word in shlex.split(text)]
        except ValueError as error:
            raise self.tree.document.error(path, str(error)) from error

    def _environment(self) -> None:
        own: dict[str, str] = {}
        for key, (value, _) in self.tree.pairs((*self.here, "environment")).items():
            if value is None:
                if key in self.variables:
                    self.secrets[key] = self.variables[key]
                continue
            filled, used = self._fill(value, "environment")
            if used:
                self.secrets[key] = filled
            else:
                own[key] = filled
        if own:
            self.values["env"] = own
        files = []
        path = (*self.here, "env_file")
        if self.tree.is_list(path):
            for index in range(self.tree.size(path)):
                each = (*path, index)
                name = self.tree.text((*each, "path") if self.tree.is_mapping(each) else each)
                optional = self.tree.is_mapping(each) and self.tree.text((*each, "required")) == "false"
                if not optional or (self.found.file.parent / name).is_file():
                    files.append(self._fill(name, "env_file")[0])
        elif self.tree.has(path):
            files.append(self._text("env_file"))
        if files:
            self.values["env_file"] = files

    def _folder(self) -> None:
        build = (*self.here, "build")
        context = self.tree.text((*build, "context") if self.tree.is_mapping(build) else build)
        source = context if context and (self.found.file.parent / context).is_dir() else "."
        wanted = self._text("working_dir")
        if not wanted:
            folder = source
        elif wanted.startswith("/") and not Path(wanted).is_dir():
            self._lost("working_dir", f"{wanted} is a folder of the container; it runs in {source}")
            folder = source
        else:
            folder = wanted
        if folder != ".":
            self.values["cwd"] = folder

    def _numbers(self) -> None:
        count = self.tree.count((*self.here, "deploy", "replicas"), self.tree.count((*self.here, "scale"), 1))
        if count != 1:
            self.values["processes"] = count
        ports = self._ports("ports") or self._ports("expose")
        if ports:
            self.values["port"] = ports[0]
        for port in ports[1:]:
            self._lost(
                "ports", f"{port}: a service has one port here; the process may listen on others as well"
            )
        if self.tree.flag((*self.here, "tty")):
            self.values["pty"] = True
        for key in self.tree.keys((*self.here, "deploy")):
            if key not in ("replicas", "restart_policy", "resources"):
                self._lost(f"deploy.{key}", "there is nothing like it here")

    def _ports(self, key: str) -> list[int]:
        """The ports inside of the container: those that the process listens on."""
        found = []
        path = (*self.here, key)
        for index in range(self.tree.size(path)):
            each = (*path, index)
            if self.tree.is_mapping(each):
                target, published = self.tree.text((*each, "target")), self.tree.text((*each, "published"))
            else:
                text = self._fill(self.tree.text(each), key)[0].split("/")[0]
                rest, _, target = text.rpartition(":")
                published = rest.rpartition(":")[2]
            if not re.fullmatch(r"[0-9]{1,5}", target) or not 1 <= int(target) <= 65535:
                self._lost(key, f"{target or 'nothing'} is not one port")
                continue
            if published and published != target:
                self._lost(key, f"published as {published}: it listens on {target} itself")
            found.append(int(target))
        return found

    def _ending(self) -> None:
        wanted, _, times = self._text("restart").partition(":")
        deploy = ("deploy", "restart_policy")
        if self.tree.has((*self.here, *deploy)):
            wanted = self.tree.text((*self.here, *deploy, "condition"), "any")
            times = self.tree.text((*self.here, *deploy, "max_attempts"))
        if wanted not in POLICIES:
            raise self.tree.document.error(
                (*self.here, "restart"), "is none of no, always, on-failure, unless-stopped"
            )
        restart: Values = {"policy": POLICIES[wanted]}
        if re.fullmatch(r"[0-9]{1,6}", times) and int(times) > 0:
            restart["give_up"] = {"times": int(times)}
        self.values["restart"] = restart
        stop: Values = {}
        if signal := self._text("stop_signal"):
            if signal_name(signal):
                stop["signal"] = signal_name(signal)
            else:
                self._lost("stop_signal", f"there is no signal {signal}")
        if self.tree.has((*self.here, "stop_grace_period")):
            stop["timeout"] = self._duration("stop_grace_period", "10s")
        if stop:
            self.values["stop"] = stop

    def _duration(self, key: str, default: str) -> str:
        text = self.tree.text((*self.here, *key.split(".")))
        if text and not DURATION.fullmatch(text):
            raise self.tree.document.error((*self.here, *key.split(".")), "is not a duration, as 1m30s")
        return re.sub(r"[0-9.]+us", "", text) or default

    def _health(self) -> None:
        path = (*self.here, "healthcheck")
        test = self.tree.texts((*path, "test"))
        if not test or test[0] == "NONE" or self.tree.flag((*path, "disable")):
            return
        shell = not self.tree.is_list((*path, "test"))
        # A shell has the service's environment, and with it the variables that are kept as they are.
        keep = shell or test[0] == "CMD-SHELL"
        filled = [self._fill(word, "healthcheck", keep=keep) for word in test]
        test = [text for text, _ in filled]
        if keep:
            for _, used in filled:
                self.secrets.update(used)
        command: str | list[str] = test[0] if shell else test[1:]
        if test[0] == "CMD-SHELL" and not shell:
            command = " ".join(test[1:])
        if not command:
            return
        from lib import duration

        period, retries = (
            self._duration("healthcheck.interval", "30s"),
            self.tree.count((*path, "retries"), 3),
        )
        start = self._duration("healthcheck.start_period", "0s")
        # A container that fails its check is told apart, not restarted: that is `ready`, not `live`.
        self.values["ready"] = {
            "exec": command, "period": period, "failures": max(1, retries),
            "timeout": self._duration("healthcheck.timeout", "30s"),
            "deadline": max(30.0, duration.seconds(start) + duration.seconds(period) * max(1, retries)),
        }  # fmt: skip
