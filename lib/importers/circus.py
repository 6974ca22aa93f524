"""circus.ini, read by circus's own parser: a watcher becomes a service.

Keys: https://circus.readthedocs.io/en/latest/for-ops/configuration/
"""

from __future__ import annotations

import glob
import logging
import os
import warnings
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

LIMITS = {"nofile": "files", "nproc": "processes", "core": "core", "fsize": "file_size", "as": "memory",
          "cpu": "cpu_time"}  # fmt: skip
"""rlimit_ keys of circus that amprun.yaml has too."""

LOST = {
    "warmup_delay": "processes start together; say depends_on for an order",
    "priority": "services start together; say depends_on for an order",
    "on_demand": "a service starts with the instance",
    "use_sockets": "say listen: ADDRESS; the socket comes as LISTEN_FDS, not as $(circus.sockets.NAME)",
    "executable": "the command names its program",
    "virtualenv": "name the environment's own Python in command",
    "copy_path": "PYTHONPATH is never handed on",
    "close_child_stdin": "a process reads nothing on its standard input",
    "close_child_stdout": "the output goes into the log",
    "close_child_stderr": "the output goes into the log",
    "loader_check": "unknown here",
}
SILENT = frozenset((
    "cmd", "args", "shell", "numprocesses", "working_dir", "uid", "gid", "stop_signal",
    "graceful_timeout", "max_retry", "respawn", "autostart", "copy_env", "stop_children", "singleton",
    "send_hup"
))  # fmt: skip
"""Keys that are carried over, or need nothing here: a whole tree is always ended, the environment is always
handed on, `ampzero restart` starts anew."""
GLOBAL = frozenset(("check_delay", "include", "include_dir", "debug", "loglevel", "warmup_delay"))
"""Keys of [circus] that mean nothing to services."""


def read(path: Path, raw: bytes) -> Imported:
    """The watchers of the file.

    Raises: ConfigError, MissingError (circus is not installed).
    """
    text = decode(path, raw)
    try:
        from circus.config import DefaultConfigParser, get_config
    except ImportError as error:
        raise missing_parser("circus", error) from error
    lines = Lines(text)
    found = Imported(path)
    logger = logging.getLogger("circus")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_includes(path, text, DefaultConfigParser(), lines)
            config = get_config(str(path))
    except ConfigError:
        raise
    except Exception as error:  # the parser of another project: what it raises on bad input is anything
        what = tame(str(error).replace("\n", " "), 200) or type(error).__name__
        raise ConfigError(f"{path}:1: circus cannot read this: {what}") from error
    finally:
        logger.disabled = before
    for watcher in config["watchers"]:
        _watcher(found, watcher, lines)
    for section in ("plugin", "socket"):
        for each in config[f"{section}s"]:
            full = each["name"] if section == "plugin" else f"socket:{each['name']}"
            why = "say listen: ADDRESS in the service" if section == "socket" else "there are no plugins here"
            found.lost(lines.line(full), f"[{full}]", why)
    for key, line in lines.of("circus").items():
        if key not in GLOBAL:
            found.lost(line, f"circus.{key}", "the instance has its own sockets, logs and pid files")
    if not found.services:
        raise ConfigError(f"{path}:1: no watcher in this file", "[watcher:NAME] with cmd = …")
    return found


def _check_includes(path: Path, text: str, parser: Any, lines: Lines) -> None:
    """Refuse includes that are no files, too many or too large: circus reads them without a bound."""
    parser.read_string(text)
    names = parser.dget("circus", "include", "").split()
    names += [f"{each}/*.ini" for each in parser.dget("circus", "include_dir", "").split()]
    found = [Path(each) for name in names for each in glob.iglob(str(path.parent / name))][: MOST_FILES + 1]  # noqa: PTH207 -- as circus does
    for each in found:
        if len(found) > MOST_FILES or not each.is_file() or each.stat().st_size > LARGEST_FILE:
            line = lines.line("circus", "include")
            raise ConfigError(
                f"{path}:{line}: circus.include: too many, too large, or no file: {tame(str(each))}"
            )


def _watcher(found: Imported, watcher: dict[str, Any], lines: Lines) -> None:
    name = watcher["name"]
    section = f"watcher:{name}"
    here = lines.of(section)
    if not str(watcher["cmd"]).strip():
        found.lost(lines.line(section), name, "it has no cmd")
        return
    args = watcher["args"] if isinstance(watcher["args"], str) else " ".join(map(str, watcher["args"]))
    values: Values = {"command": f"{watcher['cmd']} {args}".strip()}
    if "$(circus." in values["command"] or "((circus." in values["command"]:
        found.lost(
            lines.line(section, "cmd"),
            f"{name}.cmd",
            "$(circus.…) stands for nothing here; use $PORT and the like",
        )
    if watcher["shell"]:
        values["shell"] = True
    if watcher["working_dir"]:
        values["cwd"] = str(watcher["working_dir"])
    count = watcher["numprocesses"]
    if not 0 <= count <= MOST_PROCESSES:
        raise ConfigError(f"{found.file}:{lines.line(section, 'numprocesses')}: {name}: {count} processes")
    if count != 1:
        values["processes"] = count
    if not watcher["autostart"]:
        values["processes"] = 0
        found.changed(
            lines.line(section, "autostart"), f"{name}.autostart", "has 0 processes until it is scaled"
        )
    _environment(found, watcher, values, name)
    _ending(found, watcher, values, lines.line(section, "stop_signal"))
    _limits(found, watcher, values, lines, section)
    for key, line in here.items():
        if key.startswith(("stdout_stream", "stderr_stream")):
            found.lost(line, f"{name}.{key}", "the output goes into the log: ampzero logs")
        elif key.startswith("hooks."):
            found.lost(line, f"{name}.{key}", "there are no hooks; use a service that depends_on waits for")
        elif key not in SILENT and not key.startswith("rlimit_"):
            found.lost(line, f"{name}.{key}", LOST.get(key, "unknown here"))
    found.add(name, lines.line(section), values)


def _environment(found: Imported, watcher: dict[str, Any], values: Values, name: str) -> None:
    # copy_env puts the whole of our own environment here; services get that anyway.
    own = {
        str(key): str(value)
        for key, value in watcher.get("env", {}).items()
        if os.environ.get(key) != value and key != "__name__"
    }
    if own:
        values["env"] = own


def _ending(found: Imported, watcher: dict[str, Any], values: Values, line: int) -> None:
    signal = signal_name(int(watcher["stop_signal"]))
    timeout = float(watcher["graceful_timeout"])
    if not 0 <= timeout <= 1e6:
        raise ConfigError(f"{found.file}:{line}: {watcher['name']}.graceful_timeout is out of range")
    values["stop"] = {"signal": signal or "TERM", "timeout": timeout}
    restart: Values = {} if watcher["respawn"] else {"policy": "never"}
    if int(watcher["max_retry"]) > 0:
        restart["give_up"] = {"times": int(watcher["max_retry"])}
    if int(watcher["max_retry"]) < 0:
        restart["give_up"] = {"times": 1_000_000}
    if restart:
        values["restart"] = restart


def _limits(found: Imported, watcher: dict[str, Any], values: Values, lines: Lines, section: str) -> None:
    limits: Values = {}
    for key, value in watcher["rlimits"].items():
        line = lines.line(section, f"rlimit_{key}")
        if key.lower() not in LIMITS:
            found.lost(line, f"{watcher['name']}.rlimit_{key}", "no such limit here")
        elif value > 0:
            limits[LIMITS[key.lower()]] = value
        else:
            found.lost(line, f"{watcher['name']}.rlimit_{key}", "no limit is a number above 0 here")
    for key, ours in (("uid", "user"), ("gid", "group")):
        if watcher[key] is not None:
            limits[ours] = str(watcher[key])
    if limits:
        values["limits"] = limits
