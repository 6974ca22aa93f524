"""What the shell offers while a command line is typed: instances, their services, the words of `run`.

click completes commands, options and choices by itself. Here it learns the rest by the names of arguments:
`name` is an instance, `services` are services of it, `action` is what may follow `run NAME`. Loaded only
while a shell asks. Never fails: what cannot be read offers nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from lib.instance import CONFIG_NAME, candidates
from lib.supervisor.tree import environ

ENTRIES = 2000
"""Folders that are looked into, at each place."""
SIZE = 1 << 20
"""Bytes of a configuration file; a greater one offers nothing."""
VARIABLE = b"AMPZERO_DIRECTORY="
"""What every process of an instance has in its environment."""
Items = list[CompletionItem[str]]


class InstanceName(click.ParamType[str]):
    """Completes to the instances beside the checkout and in this folder, and to those that run."""

    name = "text"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
        """The instances; folders where a path is typed."""
        if ctx.params.get("procfile"):
            # With -f the instance is given: the word is a service already.
            return items(services(".", ctx.params["procfile"]), incomplete)
        if "/" in incomplete or incomplete in (".", "..", "~"):
            return [CompletionItem(incomplete, type="dir")]
        return items(instances(), incomplete)


class ServiceName(click.ParamType[str]):
    """Completes to the services, and the processes, of the instance that the line names."""

    name = "text"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
        """The services that the line does not have yet."""
        given = ctx.params.get(param.name or "") or ()
        found = services(ctx.params.get("name") or ".", ctx.params.get("procfile"))
        return items((name for name in found if name not in given), incomplete)


class Action(click.ParamType[str]):
    """Completes to an action of `run`, and behind it to services."""

    name = "text"

    def __init__(self, actions: Iterable[str]) -> None:
        self._actions = tuple(actions)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
        """Actions first, then services."""
        if not ctx.params.get("action"):
            return items(self._actions, incomplete)
        return items(services(ctx.params.get("name") or ".", ctx.params.get("procfile")), incomplete)


def teach(command: click.Command, actions: Iterable[str]) -> None:
    """Let the arguments of `command` complete by their names; `actions` are what an `action` may be."""
    if isinstance(command, click.Group):
        for below in command.commands.values():
            teach(below, actions)
    for parameter in command.params:
        if parameter.name == "name" and isinstance(parameter, click.Argument):
            parameter.type = InstanceName()
        elif parameter.name == "services" and isinstance(parameter, click.Argument):
            parameter.type = ServiceName()
        elif parameter.name == "action":
            parameter.type = Action(actions)
        elif parameter.name == "procfile":
            parameter.type = click.Path()


def items(words: Iterable[str], incomplete: str) -> Items:
    """Those of `words` that begin with what is typed."""
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def instances() -> list[str]:
    """Names that `ampzero run NAME` understands here; `.` where this folder is an instance."""
    found = ["."] if (Path.cwd() / CONFIG_NAME).is_file() else []
    places = {place.parent for place in candidates("x")}
    found += sorted({folder.name for place in places for folder in _folders(place)})
    return [*found, *(path for path in running() if Path(path).name not in found)]


def _folders(place: Path) -> Iterator[Path]:
    try:
        for count, entry in enumerate(place.iterdir()):
            if count >= ENTRIES:
                return
            if not entry.name.startswith(".") and (entry / CONFIG_NAME).is_file():
                yield entry
    except OSError:
        return


def running() -> list[str]:
    """The folders of the instances of this user that run now, wherever; their processes carry it."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        for variable in environ(int(folder.name)):
            if variable.startswith(VARIABLE):
                found.add(os.fsdecode(variable.removeprefix(VARIABLE)))
    return [path for path in sorted(found) if (Path(path) / CONFIG_NAME).is_file()]


def services(name: str, procfile: str | None) -> list[str]:
    """The services of an instance, and the single processes of those that have several."""
    try:
        if procfile:
            from lib.loader import open_instance

            return list(open_instance(name, procfile).config.services)
        places = [place for place in candidates(name) if (place / CONFIG_NAME).is_file()]
        return _services(places[0] / CONFIG_NAME) if places else []
    except Exception:
        # A traceback in the middle of somebody's command line helps nobody; the command itself will say it.
        return []


def _services(file: Path) -> list[str]:
    """As the file has them: not checked, since that takes longer than a person wants to wait for a Tab."""
    import yaml

    if file.stat().st_size > SIZE:
        return []
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: Any = yaml.load(file.read_text(), loader)  # noqa: S506 -- one of the two safe ones
    listed = found.get("services") or {}
    names = []
    for name, keys in listed.items():
        names.append(str(name))
        count = keys.get("processes", 1) if isinstance(keys, dict) else 1
        if isinstance(count, int) and 1 < count <= ENTRIES:
            names += [f"{name}.{number}" for number in range(1, count + 1)]
    return names
