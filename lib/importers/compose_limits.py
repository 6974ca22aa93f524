"""What a service of compose.yaml says about the memory and the files that it may use."""

from __future__ import annotations

import re
from collections.abc import Callable

from lib.importers.base import Values
from lib.importers.yamltree import KeyPath, Tree


def read_limits(
    tree: Tree, here: KeyPath, text: Callable[[str], str], lost: Callable[[str, str], None]
) -> Values:
    """The `limits` of the service at `here`; `text` reads a key of it, `lost` notes one."""
    limits: Values = {}
    memory = text("deploy.resources.limits.memory") or text("mem_limit")
    if match := re.fullmatch(r"([0-9]{1,12})(b|k|kb|m|mb|g|gb)?", memory.lower()):
        limits["memory"] = match[1] + {"": "", "b": ""}.get(match[2] or "", (match[2] or "")[:1].upper())
    elif memory:
        lost("mem_limit", f"{memory} is not a size that can be read")
    if tree.has((*here, "deploy", "resources", "limits", "cpus")):
        lost("deploy.resources.limits.cpus", "there is no share of processors here")
    nofile = (*here, "ulimits", "nofile")
    files = tree.count((*nofile, "hard") if tree.is_mapping(nofile) else nofile, 0, 10**8)
    if files:
        limits["files"] = files
    for key in tree.keys((*here, "ulimits")):
        if key != "nofile":
            lost(f"ulimits.{key}", "say limits: …")
    if text("user"):
        lost("user", "a user of the container; say limits: {user: …} for one of this machine")
    return limits
