"""A Procfile and its `.env`, as foreman, honcho and overmind read them."""

from __future__ import annotations

import re
import shlex

from lib import envfile
from lib.exporters.base import Exported, Target, skip_scheduled, variables
from lib.supervisor.spec import Limits, ProcessSpec, ServiceSpec


def export(target: Target) -> Exported:
    """`Procfile`, with a line a process; `.env` with the variables that all of them share."""
    exported = Exported()
    services = skip_scheduled(exported, target.plan)
    processes = [process for service in services for process in service.processes]
    every = {process.name: _portable(exported, target, process) for process in processes}
    shared = _shared(list(every.values()))
    lines = []
    for service in services:
        _note(exported, service)
        for process in service.processes:
            # foreman's names have no dot, and a second process of a service is a line of its own.
            name = service.name if len(service.processes) == 1 else f"{service.name}-{process.number}"
            own = {key: value for key, value in every[process.name].items() if shared.get(key) != value}
            lines.append(f"{name}: {_line(process, own)}\n")
    # A line may hold variables of its own, and these may be secrets.
    exported.files["Procfile"] = ("".join(lines), 0o600)
    exported.files[".env"] = (envfile.text(shared), 0o600)
    exported.hint = "start: honcho start, foreman start or overmind start in that folder"
    return exported


def _portable(exported: Exported, target: Target, process: ProcessSpec) -> dict[str, str]:
    found = {}
    for name, value in variables(target, process).items():
        if name == "PATH" and name not in process.env:
            continue
        if "\n" in value or "\r" in value or not name.isidentifier():
            exported.lost(process.service, f"env.{name}", "a Procfile's variables are of one line")
        else:
            found[name] = value
    return found


def _shared(environments: list[dict[str, str]]) -> dict[str, str]:
    """The variables that all have with the same value; $PORT belongs to each line."""
    first = environments[0] if environments else {}
    return {
        name: value
        for name, value in first.items()
        if name != "PORT" and all(each.get(name) == value for each in environments)
    }


def _line(process: ProcessSpec, own: dict[str, str]) -> str:
    command = "exec " + shlex.join(process.argv)
    if process.argv[:2] == ("/bin/sh", "-c") and len(process.argv) == 3:
        command = process.argv[2]
        if "\n" in command:
            command = "exec /bin/sh -c " + _one_line(command)
    elif any("\n" in word for word in process.argv):
        command = "exec " + " ".join(_one_line(word) for word in process.argv)
    exports = "".join(f"export {name}={shlex.quote(value)}; " for name, value in own.items())
    before = "".join(f"rm -f {shlex.quote(each)}; " for each in process.stale)
    before += "".join(f"{shlex.join(each)} || exit 1; " for each in process.check)
    return f"cd {shlex.quote(process.cwd)}; {exports}{before}{command}"


def _one_line(word: str) -> str:
    """A shell's word without a line end in it."""
    if "\n" not in word:
        return shlex.quote(word)
    escaped = re.sub(r"[\\%]", lambda match: {"\\": "\\\\", "%": "%%"}[match[0]], word).replace("\n", "\\n")
    return f'"$(printf {shlex.quote(escaped)})"'


def _note(exported: Exported, service: ServiceSpec) -> None:
    if service.depends_on:
        exported.lost(service.name, "depends_on", "a Procfile's lines start together")
    if service.restart.policy != "never":
        exported.lost(service.name, "restart", "most readers of a Procfile end all when one ends")
    for process in service.processes[:1]:
        given = {
            "ready": process.ready,
            "live": process.live,
            "listen": process.listen,
            "limits": process.limits != Limits(),
        }
        for key in (key for key, value in given.items() if value):
            exported.lost(service.name, key, "there is nothing like it in a Procfile")
