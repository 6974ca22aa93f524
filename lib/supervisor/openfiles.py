"""How many files a supervisor may have open, and what its children may.

The usual limit of 1024 is used up by some 250 processes. Where it is enough the supervisor keeps to it, and
its children inherit it; else each child's is put back when it has started.
"""

from __future__ import annotations

import resource

from lib.supervisor.launch import Launch

FILES_A_PROCESS, FILES_BESIDE = 4, 100
"""Open files of a supervisor: for each process its pidfd, two pipes and a probe; and for the rest."""


def raise_limit() -> int:
    """Allow this process as many open files as it may have; the soft limit before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


def lower_limit(launch: Launch) -> int:
    """Go back to the limit of `launch` where its supervisor can do with it, and answer 0; else the limit that
    each child is to be given."""
    processes = sum(len(service.processes) for service in launch.plan.services)
    held = sum(len(handles) for handles in launch.held.values())
    if FILES_A_PROCESS * processes + len(launch.plan.services) + held + FILES_BESIDE > launch.open_files:
        return launch.open_files
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (launch.open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    return 0
