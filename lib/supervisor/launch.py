"""What a supervisor's process is told at its start, and what it tells its starter: the two ends' words.

It gets a Launch (handover.py), and writes Reports, a JSON object a line, to `progress`.
"""

from __future__ import annotations

import msgspec

from lib.supervisor.spec import Plan


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the process needs. `held` maps a port to the open sockets that keep it until its start.

    `lock` and those in `held` and `listening` are descriptors: the starter's in what it sends, the process's
    own in what it gets. It makes `progress` itself. `foreground`: print the output, and stop on Ctrl-C.
    `umask` and `open_files` (the soft limit; 0: as it is) are what the children get: the supervisor itself
    has 077, and as many open files as it needs.

    `succeeds`: a supervisor that lives hands all this over (leaving.py), its sockets that are `listening`, by
    address, among it, and everything that it runs.
    """

    plan: Plan
    lock: int
    held: dict[int, tuple[int, ...]] = {}
    progress: int = -1
    foreground: bool = False
    umask: int = 0o022
    open_files: int = 0
    succeeds: bool = False
    listening: dict[str, int] = {}

    def descriptors(self) -> list[int]:
        """What goes along with it."""
        held = (handle for handles in self.held.values() for handle in handles)
        return [self.lock, *held, *self.listening.values()]


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of a start: a service's new state, or its end: `ready`, or an error with its exit code; after
    an error everything is stopped, unless it `runs_on`."""

    service: str = ""
    state: str = ""
    reason: str = ""
    ready: bool = False
    error: str = ""
    hint: str = ""
    exit_code: int = 0
    runs_on: bool = False
