"""Holding a child to its limits: rlimits, niceness, and by a cgroup where one can be made.

They are set from outside (prlimit(2), setpriority(2)), while the child waits for that (spawn.py).
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress

from lib.supervisor import cgroups
from lib.supervisor.spec import Limits


def apply(limits: Limits, pid: int, name: str) -> list[str]:
    """Hold `pid` to `limits`, where it takes one in the cgroup `name`; what could not be set, and why."""
    failed = []
    for key, value in limits.rlimits.items():
        try:
            resource.prlimit(pid, getattr(resource, f"RLIMIT_{key.upper()}"), (value, value))
        except (OSError, ValueError, AttributeError) as error:
            failed.append(f"rlimit {key} {value}: {error}")
    if limits.nice:
        try:
            os.setpriority(os.PRIO_PROCESS, pid, limits.nice)
        except OSError as error:
            failed.append(f"nice {limits.nice}: {error.strerror}")
    ceilings = _ceilings(limits)
    try:
        if ceilings:
            cgroups.hold(pid, name, ceilings)
    except OSError as error:
        why = f"no cgroup can be made ({error.strerror})"
        if limits.memory:
            failed.append(f"memory {limits.memory}: {why}; its rlimit serves")
            with suppress(OSError, ValueError):
                resource.prlimit(pid, resource.RLIMIT_AS, (limits.memory, limits.memory))
        if "pids" in ceilings and os.geteuid() == 0 and not limits.user:
            failed.append(f"processes {ceilings['pids']}: {why}, and root's are not counted by its rlimit")
    return failed


def are_set(limits: Limits) -> bool:
    """Whether `apply` has anything to do."""
    return bool(limits.rlimits or limits.nice or limits.memory)


def why_killed(limits: Limits, name: str) -> str:
    """That the memory of the cgroup `name` was used up, if the kernel killed for that; else empty."""
    if limits.memory and cgroups.killed_for_memory(name):
        return f"killed by SIGKILL: it used up its {limits.memory} bytes of memory"
    return ""


def clear(limits: Limits, name: str) -> None:
    """Remove the cgroup `name`, whose process has ended."""
    if _ceilings(limits):
        cgroups.remove(name)


def _ceilings(limits: Limits) -> dict[str, int]:
    """What a cgroup is to bound."""
    wanted = {"memory": limits.memory, "pids": limits.rlimits.get("nproc", 0)}
    return {controller: value for controller, value in wanted.items() if value}
