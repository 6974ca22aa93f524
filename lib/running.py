"""An instance that runs, as seen from outside: is it there, what does it say, and how it is ended."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.addressing import typed
from lib.errors import LeftoverError, NotRunningError, TakenError
from lib.files import Lock, storage_errors
from lib.instance import Instance

if TYPE_CHECKING:
    from lib.control.client import ControlClient
    from lib.supervisor.spec import Plan

ANSWER_TIME = 3.0
"""Seconds to wait for the control socket of a supervisor that has only just begun."""

START_TIME = 3600.0
"""Seconds that a commanded start or restart may take: the services' own deadlines end it much earlier."""

GONE_TIME = 5.0
"""Seconds until a supervisor that has ended everything must be gone itself."""

DYING_TIME = 2.0
"""Seconds that processes which were killed may still be seen dying."""


def is_running(instance: Instance) -> bool:
    """Whether a supervisor holds the instance's lock."""
    return Lock(instance.run / "lock").is_held()


def owner_file(instance: Instance) -> Path:
    """The file in the state folder that names the folder of the instance which runs there."""
    return instance.state / "owner"


def check_owner(instance: Instance) -> str:
    """The folder of the instance that last ran in this var folder, which must be this one; empty for none.

    Raises: TakenError naming the other, StorageError.
    """
    owner = owner_file(instance)
    with storage_errors(owner):
        known = owner.read_text().strip() if owner.exists() else ""
    if known and known != str(instance.directory) and Path(known).is_dir() and not _is_same(instance, known):
        raise TakenError(
            f"{instance.var} belongs to the instance in {known}",
            f"give one of them another name or amprun_root_directory in {instance.config_file.name}",
        )
    return known


def _is_same(instance: Instance, known: str) -> bool:
    """Whether the folder `known` is the instance's own, reached by another path."""
    try:
        return instance.directory.samefile(known)
    except OSError:
        return False


def connect(instance: Instance) -> ControlClient:
    """A client of the instance's supervisor.

    Raises: NotRunningError; TakenError when it is another instance's.
    """
    check_owner(instance)
    path = instance.sockets / "control.sock"
    until = time.monotonic() + ANSWER_TIME
    while not path.exists() or not is_running(instance):
        if not is_running(instance) or time.monotonic() > until:
            raise _not_running(instance)
        time.sleep(0.01)
    from lib.control.client import ControlClient

    return ControlClient(path, lambda: is_running(instance))


def _not_running(instance: Instance) -> NotRunningError:
    from lib import leftovers

    if count := len(leftovers.find(instance)):
        return NotRunningError(
            f"the supervisor of {instance.name} died; {count} processes that it left are still running",
            f"ampzero run {typed(instance)} takes them over, ampzero stop {typed(instance)} ends them",
        )
    return NotRunningError(f"{instance.name} is not running", f"ampzero run {typed(instance)}")


def status(instance: Instance) -> dict[str, Any]:
    """The instance's status, as the supervisor tells it.

    Raises: NotRunningError.
    """
    found: dict[str, Any] = connect(instance).call("status")
    return found


def plan(instance: Instance) -> Plan:
    """What the instance's supervisor runs.

    Raises: NotRunningError.
    """
    import msgspec

    from lib.supervisor.spec import Plan

    return msgspec.json.decode(connect(instance).call("plan"), type=Plan)


def shut_down(instance: Instance, *, at_once: bool = False) -> int:
    """End the instance; returns only when every process is gone and every port is free.

    The answer is how many processes a supervisor that had died left behind; they are ended too.

    Raises: NotRunningError; LeftoverError naming what is left.
    """
    check_owner(instance)
    if not is_running(instance):
        return _end_leftovers(instance, at_once=at_once)
    client = connect(instance)
    holder = Lock(instance.run / "lock").holder()
    answer = client.call("shutdown", timeout=START_TIME, mode="quit" if at_once else "stop")
    # A supervisor of an older version answers with fewer fields.
    _wait_until_gone(instance, answer.get("pid", holder))
    prove_empty(instance, answer.get("ports", []), answer.get("survivors", []))
    return 0


def _end_leftovers(instance: Instance, *, at_once: bool) -> int:
    from lib import leftovers

    # Nobody may start the instance meanwhile: its new processes carry the same mark.
    lock = Lock(instance.run / "lock")
    if not lock.path.exists() or not lock.acquire():
        raise _not_running(instance)
    try:
        ended = leftovers.end(instance, at_once=at_once)
    finally:
        lock.release()
    if not ended:
        raise _not_running(instance)
    prove_empty(instance, [], [])
    return ended


def prove_empty(instance: Instance, ports: list[int], survivors: list[str]) -> None:
    """Look once more, from outside, that no process and no port of the instance is left.

    Raises: LeftoverError naming what is left; StorageError when the process table cannot be read.
    """
    from lib import ports as port_table
    from lib.supervisor import tree

    until = time.monotonic() + DYING_TIME
    while found := _marked(instance):
        # Killed processes end in their own time, and on a busy machine that is not at once.
        if time.monotonic() > until:
            break
        time.sleep(0.01)
    left = survivors or [f"pid {pid} ({tree.command_line(pid)})" for pid in sorted(found)]
    left += [f"port {port} ({holder})" for port, holder in port_table.taken(ports).items()]
    if left:
        raise LeftoverError(
            f"{instance.name} is stopped, but these are left: {', '.join(left)}",
            "end them by hand, or try: ampzero quit",
        )


def _marked(instance: Instance) -> set[int]:
    from lib.supervisor import tree

    with storage_errors(tree.PROC):
        table = tree.table()
        found = tree.marked(f"AMPZERO_VAR={instance.var}".encode(), table)
    return found - {os.getpid(), *tree.ancestors(os.getpid(), table)}


def _wait_until_gone(instance: Instance, pid: int) -> None:
    until = time.monotonic() + GONE_TIME
    while is_running(instance) or (instance.sockets / "control.sock").exists():
        if time.monotonic() > until:
            if is_running(instance):
                raise LeftoverError(f"the supervisor (pid {pid}) does not end", f"kill -9 {pid}")
            # It was killed meanwhile and left its socket: harmless.
            Path(instance.sockets / "control.sock").unlink(missing_ok=True)
        time.sleep(0.002)
