"""The JSON Schemas of the configuration files, so that editors complete and check them.

They come from the same classes that the files are read into. Committed in docs/schema/ (a test keeps them
current); `init` also puts amprun.yaml's into the instance's .git folder, where its first line names it.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import msgspec

from lib.errors import UsageError
from lib.files import make_folder, write_atomic
from lib.yamlfile import did_you_mean

TYPES = {
    "amprun": ("lib.config", "Config"),
    "ampnode": ("lib.node.config", "AmpnodeConfig"),
    "deployment": ("deploy.config", "DeploymentConfig"),
}
"""The class of each file, by the file's name without .yaml; imported when it is asked for."""
INSTALLED = ".git/ampzero/amprun.schema.json"
"""Not tracked: it belongs to the version of the tool, not to the instance."""


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the file `name`, as amprun or amprun.yaml.

    Raises: UsageError.
    """
    name = name.removesuffix(".yaml")
    if name not in TYPES:
        raise UsageError(
            f"no schema {name[:40]!r}", did_you_mean(name, TYPES) or f"schemas: {', '.join(sorted(TYPES))}"
        )
    module, kind = TYPES[name]
    made = msgspec.json.schema(getattr(importlib.import_module(module), kind))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"{name}.yaml"} | _nullable(
        made
    )


def _nullable(part: dict[str, Any]) -> dict[str, Any]:
    """A service without a value (`redis:`) is an empty one: the schema says so too."""
    services = part.get("$defs", {}).get("Config", {}).get("properties", {}).get("services")
    if services:
        services["additionalProperties"] = {"anyOf": [services["additionalProperties"], {"type": "null"}]}
    return part


def text(name: str) -> str:
    """The schema as a file's content.

    Raises: UsageError.
    """
    return json.dumps(schema(name), indent=2) + "\n"


def install(folder: Path) -> None:
    """Write amprun.yaml's schema to where the file's first line says that it is.

    Raises: StorageError.
    """
    path = folder / INSTALLED
    make_folder(path.parent)
    write_atomic(path, text("amprun"))
