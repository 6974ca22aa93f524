"""A lab as an environment of deployment.yaml: its text, and writing it there with all else left as it is."""

from __future__ import annotations

import re
from pathlib import Path

from deploy.lab.lab import Lab
from lib import yamlfile
from lib.files import storage_errors, write_atomic
from lib.yamlnodes import Node

KEY = "environments"
EMPTY = re.compile(r"environments\s*:\s*(\{\s*\}|~|null)?\s*(#.*)?")
"""The line of an instance that has no environment yet."""


def section(lab: Lab, indent: str = "  ") -> str:
    """The lines of the environment, which is named after the lab, as they stand below `environments:`."""
    lines = [f"{lab.name}:", "  hosts:"]
    lines += [f"    - {{name: {host.name}, address: root@{host.address}}}" for host in lab.hosts]
    lines += ["  ssh:", f"    key: {lab.login.key}", f"    known_hosts: {lab.login.known_hosts}"]
    return "".join(f"{indent}{line}\n" for line in lines)


def write_into(path: Path, lab: Lab) -> None:
    """Put the environment into a deployment.yaml, in the place of one with its name.

    Raises: ConfigError where the file is not written as one would by hand, StorageError.
    """
    with storage_errors(path):
        raw = path.read_bytes() if path.exists() else b""
    document = yamlfile.parse(raw, str(path))
    before = document.plain() or {}
    if not isinstance(before, dict) or not isinstance(before.get(KEY) or {}, dict):
        raise document.error((KEY,), "must be a mapping", "as `ampzero lab up` prints it without --into")
    changed = _merged(raw.decode(), document.root, lab)
    wanted = yamlfile.parse(f"{KEY}:\n{section(lab)}".encode(), str(path)).plain()[KEY]
    after = yamlfile.parse(changed.encode(), str(path)).plain()
    if after != {**before, KEY: {**(before.get(KEY) or {}), **wanted}}:
        raise document.error((KEY,), f"cannot add {lab.name} here", "write one environment below the other")
    write_atomic(path, changed, path.stat().st_mode & 0o777 if path.exists() else 0o644)


def _merged(text: str, root: Node, lab: Lab) -> str:
    """`text` with the environment; whoever calls sees whether it came out right."""
    lines = text.splitlines(keepends=True)
    if not isinstance(root.value, dict) or KEY not in root.value:
        return f"{text.rstrip()}\n{KEY}:\n{section(lab)}".lstrip()
    head = root.keys[KEY][0] - 1
    there = root.value[KEY]
    if not there.value:
        if EMPTY.fullmatch(lines[head].strip()):
            lines[head] = f"{KEY}:\n{section(lab)}"
        return "".join(lines)
    first, column = next(iter(there.keys.values()))
    indent = " " * (column - 1)
    if lab.name not in there.keys:
        return "".join([*lines[: first - 1], section(lab, indent), *lines[first - 1 :]])
    start = there.keys[lab.name][0] - 1
    end = start + 1
    while end < len(lines) and (lines[end].startswith(f"{indent} ") or not lines[end].strip()):
        end += 1
    return "".join([*lines[:start], section(lab, indent), *lines[end:]])
