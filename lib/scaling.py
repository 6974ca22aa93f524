"""How many processes of a service were asked for by `scale`, in place of what amprun.yaml says.

Kept in state/scale.json while the instance runs, so that a reload does not undo it; a fresh run begins with
amprun.yaml again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import msgspec

from lib.config import ServiceConfig
from lib.errors import UsageError
from lib.files import write_atomic
from lib.instance import Instance

MOST = 1000
"""Processes of one service at most: as in lib/config.py."""

WISH = re.compile(r"([a-z][a-z0-9_-]{0,31})=([+-]?)([0-9]{1,4})")


def wishes(words: tuple[str, ...], now: Mapping[str, int]) -> dict[str, int]:
    """The numbers that `web=4`, `web=+1`, `web=-1` mean; `now` is how many there are of each.

    Raises: UsageError.
    """
    found: dict[str, int] = {}
    for word in words:
        match = WISH.fullmatch(word)
        if not match:
            name = word.partition("=")[0]
            name = name if name in now else "web"
            raise UsageError(
                f"{word!r} does not say how many processes", f"type {name}=4, {name}=+1 or {name}=-1"
            )
        name, sign, number = match[1], match[2], int(match[3])
        if name not in now:
            raise UsageError(f"no service {name!r}", f"there are: {', '.join(now)}")
        base = found.get(name, now[name]) if sign else 0
        found[name] = base - number if sign == "-" else base + number
        if not 0 <= found[name] <= MOST:
            raise UsageError(f"{name} cannot have {found[name]} processes", f"0 to {MOST}")
    return found


def read(instance: Instance) -> dict[str, int]:
    """The numbers that were asked for, by service; a file that is not ours to read counts as empty."""
    try:
        found = json.loads((instance.state / "scale.json").read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    # `true` is an int in Python, and no number of processes.
    return {name: count for name, count in found.items() if type(count) is int and 0 <= count <= MOST}


def remember(instance: Instance, counts: Mapping[str, int]) -> None:
    """Let `counts` hold from the next reload on.

    Raises: StorageError.
    """
    write_atomic(instance.state / "scale.json", json.dumps({**read(instance), **counts}) + "\n", 0o600)


def forget(instance: Instance) -> None:
    """Begin with amprun.yaml again."""
    (instance.state / "scale.json").unlink(missing_ok=True)


def apply(instance: Instance, chosen: Mapping[str, ServiceConfig]) -> dict[str, ServiceConfig]:
    """`chosen` with the numbers that were asked for."""
    counts = read(instance)
    return {
        name: msgspec.structs.replace(config, processes=counts[name]) if name in counts else config
        for name, config in chosen.items()
    }
