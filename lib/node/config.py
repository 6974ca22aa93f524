"""The types of ampnode/ampnode.yaml: one class a section; the defaults stand here and nowhere else.

Owns what the keys are; the commented reference is instance_template/ampnode/ampnode.yaml.
"""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Annotated, Any

import msgspec

from lib.config import Duration, Section
from lib.duration import seconds
from lib.errors import ConfigError
from lib.yamlfile import Document, read

MODULE_PATTERN = r"^[a-z][a-z0-9_]{0,63}$"
"""A module's name: a Python identifier, as it is its file's name in services/."""
PATH_PATTERN = r"^/[A-Za-z0-9._~/-]*$"
RESERVED = ("/_ampzero", "/login", "/logout", "/healthz")
"""Paths that the runtime answers itself."""

UrlPath = Annotated[str, msgspec.Meta(pattern=PATH_PATTERN, max_length=200)]


class ModuleConfig(Section, frozen=True):
    """One entry under `modules:`; `path` is where its routes are mounted, None for /NAME."""

    path: UrlPath | None = None
    options: dict[str, Any] = msgspec.field(default_factory=dict)


class ConsoleConfig(Section, frozen=True):
    """The page that shows the instance; `session` is how long a sign-in lasts."""

    enabled: bool = True
    path: UrlPath = "/"
    session: Duration = "12h"


class AmpnodeConfig(Section, frozen=True):
    """The whole of ampnode.yaml. `workers` are the threads of a process for plain `def` handlers."""

    modules: dict[str, ModuleConfig] = msgspec.field(default_factory=dict)
    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    workers: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 40
    console: ConsoleConfig = ConsoleConfig()

    def paths(self) -> dict[str, str]:
        """Module name -> the path of its routes, without a slash at its end ('' is the root)."""
        return {
            name: (module.path if module.path is not None else f"/{name}").rstrip("/")
            for name, module in self.modules.items()
        }


def load_config(path: Path) -> AmpnodeConfig:
    """Read ampnode.yaml; a folder without one gets the defaults: no modules, and the console.

    Raises: ConfigError with file, line, column and key.
    """
    if not path.exists():
        return AmpnodeConfig()
    document = read(path)
    config = document.convert(AmpnodeConfig, empty=(("modules", "*"),))
    check(document, config)
    return config


def check(document: Document, config: AmpnodeConfig) -> None:
    """Refuse paths that two answer for, and a session that ends before it begins.

    Raises: ConfigError.
    """
    taken = dict.fromkeys(RESERVED, "the runtime itself")
    if config.console.enabled:
        console = config.console.path.rstrip("/")
        if holder := holder_of(console, taken):
            raise document.error(
                ("console", "path"), f"{console} is taken by {holder}", "give it another path"
            )
        taken[console] = "the console"
    for name, where in config.paths().items():
        if not re.fullmatch(MODULE_PATTERN, name) or keyword.iskeyword(name):
            raise document.error(
                ("modules", name), "a module's name must be a Python name of small letters", key=True
            )
        if holder := holder_of(where, taken):
            raise document.error(
                ("modules", name, "path"),
                f"{where or '/'} is taken by {holder}",
                "give the module another path",
            )
        taken[where] = f"the module {name}"
    try:
        if seconds(config.console.session) < 1:
            raise ConfigError("a session must last a second at least")
    except ConfigError as error:
        raise document.error(("console", "session"), error.message, error.hint) from error


def holder_of(where: str, taken: dict[str, str]) -> str:
    """Who answers at `where` already; empty when nobody does."""
    if any(where.startswith(f"{reserved}/") for reserved in RESERVED):
        return "the runtime itself"
    return taken.get(where, "")
