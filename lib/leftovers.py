"""Processes that a supervisor which died left running: found by the mark that all its children carry."""

from __future__ import annotations

import os
import signal
import time

from lib.errors import LeftoverError
from lib.files import storage_errors
from lib.instance import Instance
from lib.supervisor import journal, tree

END_TIME = 5.0
"""Seconds that they get to end by SIGTERM."""

KILL_TIME = 5.0
"""Seconds that SIGKILL may take; what is there then is named."""

PAUSE = 0.02
"""Seconds between two looks at the process table."""


def find(instance: Instance) -> set[int]:
    """The pids of the instance's processes; only meaningful while no supervisor of it runs.

    Raises: StorageError when the process table cannot be read.
    """
    with storage_errors(tree.PROC):
        table = tree.table()
        found = tree.marked(f"AMPZERO_VAR={instance.var}".encode(), table)
    mine = {os.getpid(), *tree.ancestors(os.getpid(), table)}
    found |= journal.living(journal.replay(instance.state / "journal").values(), table)
    return found - mine


def describe(pids: set[int]) -> list[str]:
    """Each as `pid 12 (command)`."""
    return [f"pid {pid} ({tree.command_line(pid)})" for pid in sorted(pids)]


def end(instance: Instance, *, at_once: bool = False) -> int:
    """End them, gently first or `at_once`; how many there were.

    Raises: LeftoverError naming those that do not die.
    """
    seen: set[int] = set()
    asked = time.monotonic()
    gently = 0.0 if at_once else END_TIME
    while left := find(instance):
        passed = time.monotonic() - asked
        if passed >= gently:
            tree.kill(lambda: find(instance))
        else:
            # Once each: a second SIGTERM means to many that they shall not clean up.
            tree.send(left - seen, signal.SIGTERM)
        if passed > gently + KILL_TIME:
            raise LeftoverError(f"these do not end: {', '.join(describe(left))}", "end them by hand")
        seen |= left
        time.sleep(PAUSE)
    return len(seen)
