"""supervisord.conf, read by supervisor's own parser and its own types: a program becomes a service.

Keys: http://supervisord.org/configuration.html
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from lib.errors import ConfigError
from lib.importers.base import (
    LARGEST_FILE,
    MOST_FILES,
    MOST_PROCESSES,
    Imported,
    Values,
    decode,
    missing_parser,
    signal_name,
)
from lib.importers.ini import Lines
from lib.yamlnodes import tame

CARRIED = frozenset((
    "command", "directory", "environment", "numprocs", "numprocs_start", "process_name", "autostart",
    "autorestart", "exitcodes", "startretries", "stopsignal", "stopwaitsecs", "stopasgroup",
    "killasgroup", "user", "umask", "redirect_stderr", "startsecs"
))  # fmt: skip
"""Keys that are carried over, or that need nothing here: a whole tree is always ended."""
LOST = {
    "priority": "services start together; say depends_on for an order",
    "serverurl": "a process finds its instance in $AMPZERO_CONTROL",
}
OUTPUT = "the output goes into the log: ampzero logs"


def read(path: Path, raw: bytes) -> Imported:
    """The programs of the file.

    Raises: ConfigError, MissingError (supervisor is not installed).
    """
    text = decode(path, raw)
    try:
        from supervisor import datatypes
        from supervisor.options import UnhosedConfigParser
    except ImportError as error:
        raise missing_parser("supervisor", error) from error
    lines = Lines(text)
    found = Imported(path)
    try:
        parser = UnhosedConfigParser()
        parser.expansions = {f"ENV_{key}": value for key, value in os.environ.items()}
        parser.expansions |= {"here": str(path.parent.resolve()), "host_node_name": platform.node()}
        parser.read_string(text, str(path))
        _include(parser, path, lines)
        for section in parser.sections():
            kind, _, name = section.partition(":")
            if kind == "program" and name.strip():
                _program(found, parser, section, name.strip(), lines, datatypes)
            elif kind in ("fcgi-program", "eventlistener"):
                found.lost(lines.line(section), f"[{section}]", "there is nothing like it here")
            elif kind == "group":
                found.lost(lines.line(section), f"[{section}]", "services have no groups; name them together")
            elif kind not in ("supervisord", "unix_http_server", "inet_http_server", "supervisorctl",
                              "rpcinterface", "include", "ctlplugin"):  # fmt: skip
                found.lost(lines.line(section), f"[{section}]", "unknown here")
    except ConfigError:
        raise
    except Exception as error:  # the parser of another project: what it raises on bad input is anything
        what = tame(str(error).replace("\n", " "), 200) or type(error).__name__
        raise ConfigError(f"{path}:1: supervisor cannot read this: {what}") from error
    for key, line in lines.of("supervisord").items():
        if key in ("environment", "umask", "user", "directory", "minfds", "minprocs"):
            found.lost(line, f"supervisord.{key}", "say it in each service")
    if lines.sections.get("inet_http_server"):
        found.lost(
            lines.line("inet_http_server"),
            "[inet_http_server]",
            "the instance listens on its own socket only",
        )
    if not found.services:
        raise ConfigError(f"{path}:1: no program in this file", "[program:NAME] with command = …")
    return found


def _include(parser: Any, path: Path, lines: Lines) -> None:
    if not parser.has_section("include"):
        return
    files: list[Path] = []
    for pattern in parser.saneget("include", "files", default="").split():
        base = Path(pattern)
        folder = Path(base.anchor) if base.is_absolute() else path.parent
        relative = str(base.relative_to(base.anchor)) if base.is_absolute() else pattern
        for each in folder.glob(relative):
            files.append(each)
            if len(files) > MOST_FILES or not each.is_file() or each.stat().st_size > LARGEST_FILE:
                line = lines.line("include", "files")
                raise ConfigError(
                    f"{path}:{line}: include.files: too many, too large, or no file: {tame(str(each))}"
                )
    parser.read([str(each) for each in sorted(files)])


def _program(found: Imported, parser: Any, section: str, name: str, lines: Lines, types: Any) -> None:
    def get(key: str, default: str | None = None, number: int = 0) -> Any:
        expansions = {"program_name": name, "group_name": name, "process_num": number, "numprocs": count}
        return parser.saneget(section, key, default=default, expansions=expansions)

    def say(key: str, why: str) -> None:
        found.lost(lines.line(section, key), f"{name}.{key}", why)

    count = 1
    count = types.integer(get("numprocs", "1"))
    first = types.integer(get("numprocs_start", "0"))
    if not 0 <= count <= MOST_PROCESSES:
        raise ConfigError(f"{found.file}:{lines.line(section, 'numprocs')}: {name}: {count} processes")
    command = get("command", number=first)
    if not command or not command.strip():
        say("command", "it has none")
        return
    values: Values = {"command": command}
    if count > 1 and get("command", number=first + 1) != command:
        # Not one command for all: $AMPZERO_PROCESS ends with the number of the process, from 1.
        say("command", "%(process_num)s is that of the first process for all; use $AMPZERO_PROCESS or $PORT")
    if count != 1:
        values["processes"] = count
    if not types.boolean(get("autostart", "true")):
        values["processes"] = 0
        found.changed(
            lines.line(section, "autostart"), f"{name}.autostart", "has 0 processes until it is scaled"
        )
    if directory := get("directory"):
        values["cwd"] = directory
    environment = types.dict_of_key_value_pairs(get("environment", "", first))
    if environment:
        values["env"] = environment
    _ending(found, values, name, get, types, say)
    _limits(found, values, get, types)
    for key in parser.options(section):
        if key.startswith(("stdout_", "stderr_")):
            if key in ("stdout_logfile", "stderr_logfile") or key.endswith("_syslog"):
                say(key, OUTPUT)
        elif key not in CARRIED:
            say(key, LOST.get(key, "unknown here"))
    found.add(name, lines.line(section), values)


def _ending(found: Imported, values: Values, name: str, get: Any, types: Any, say: Any) -> None:
    wanted = str(get("autorestart", "unexpected")).lower()
    policy = "on-failure" if wanted == "unexpected" else "always" if types.boolean(wanted) else "never"
    if policy == "on-failure" and types.list_of_exitcodes(get("exitcodes", "0")) != [0]:
        say("exitcodes", "only exit code 0 counts as expected")
    values["restart"] = {"policy": policy}
    if retries := types.integer(get("startretries", "0")):
        values["restart"]["give_up"] = {"times": max(1, min(retries, 1_000_000))}
    signal = signal_name(get("stopsignal", "TERM"))
    if not signal:
        say("stopsignal", "there is no such signal")
    wait = types.integer(get("stopwaitsecs", "10"))
    if not 0 <= wait <= 10**6:
        raise ConfigError(f"{found.file}:1: {name}.stopwaitsecs is out of range")
    if (signal or "TERM", wait) != ("TERM", 10):
        values["stop"] = {"signal": signal or "TERM", "timeout": float(wait)}


def _limits(found: Imported, values: Values, get: Any, types: Any) -> None:
    limits: Values = {}
    if user := get("user"):
        limits["user"] = user
    if umask := get("umask"):
        limits["umask"] = f"{types.octal_type(umask):03o}"
    if limits:
        values["limits"] = limits
