"""Procfiles: `name: command` a line, as foreman, honcho and overmind read them.

Each line becomes a service that a shell runs, with a port for each process ($PORT), the `.env` beside
the file, and our defaults for the rest. Format: https://ddollar.github.io/foreman/#PROCFILE
"""

from __future__ import annotations

import re
from pathlib import Path

from lib.errors import ConfigError
from lib.importers.base import Imported, decode, service_name
from lib.yamlnodes import short

LINE = re.compile(r"([A-Za-z0-9_-]+)[ \t]*:[ \t]*(.*)")


def read(path: Path, raw: bytes) -> Imported:
    """The services in the Procfile `raw`, which lies (or would lie) at `path`.

    Raises: ConfigError (`file:line`).
    """
    found = Imported(path)
    env_file = {"env_file": ".env"} if (path.parent / ".env").is_file() else {}
    for number, line in enumerate(decode(path, raw).split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = LINE.fullmatch(stripped)
        if not match or not match[2]:
            raise ConfigError(
                f"{path}:{number}: not a line of a Procfile: {short(stripped)}", "NAME: COMMAND"
            )
        if service_name(match[1]) != match[1].lower():
            raise ConfigError(
                f"{path}:{number}: {short(match[1])} is not a name for a service",
                "letters, digits, - and _, a letter first, at most 32",
            )
        if match[1].lower() == "release":
            # Heroku's release phase: it runs to its end before the others begin.
            # https://devcenter.heroku.com/articles/release-phase
            once = {"restart": {"policy": "never"}}
            found.add(match[1], number, {"command": match[2], "shell": True, **env_file, **once})
            continue
        # Every process is given a port, but only `web` is known to listen: the others are ready at once.
        ready = {} if match[1].lower() == "web" else {"ready": {"exec": ["true"]}}
        found.add(match[1], number, {"command": match[2], "shell": True, "port": "auto", **env_file, **ready})
    for name, values in found.services.items() if "release" in found.services else ():
        if name != "release":
            values["depends_on"] = {"release": "completed_successfully"}
    if not found.services:
        raise ConfigError(f"{path}:1: no service in this Procfile", "NAME: COMMAND, one a line")
    return found
