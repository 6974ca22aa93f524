"""Probes that speak a system's own protocol: whether it is ready, and a few facts of it for `status`.

One module a system, each with `ask(target)`: it returns the facts in a few words or raises ProbeError with
what is wrong. Loaded when a probe of that system is asked. They change nothing, take bounded answers, and
know no password: a server that asks for one answers, and is ready.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from lib.supervisor.spec import Probe

MODULES = ("redis", "etcd", "nginx", "postgres")


async def ask(probe: Probe) -> str:
    """What `probe.domain` says of itself.

    Raises: ProbeError, OSError, ValueError.
    """
    if probe.domain not in MODULES:
        raise ValueError(f"no domain {probe.domain!r}")
    module: Any = importlib.import_module(f"lib.supervisor.domain.{probe.domain}")
    try:
        facts: str = await module.ask(probe.target)
    except EOFError as error:  # IncompleteReadError is one
        raise ValueError("it closed the connection in the middle of an answer") from error
    except (asyncio.LimitOverrunError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it does not answer as {probe.domain} does") from error
    return facts


def amount(size: int) -> str:
    """`size` bytes for a person: 512 B, 1.5 MB."""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5:
            return f"{value:.3g} {unit}"
    return f"{value:.0f} TB"
