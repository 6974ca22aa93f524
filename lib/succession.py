"""One supervisor in another's place, while everything runs: after ampzero itself was replaced.

The running one is of the old tree. A new one is loaded first, and must be able to; then the old one hands it
the plan, the lock and the sockets that it holds, lets go of its processes without ending any, and is gone
before the new one takes them over (adoption). The lock passes from hand to hand: nobody can begin a run in
between. Killed at any moment this leaves the old one in place, or nobody, as after a crash: then the next
`ampzero run` takes over.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec

from lib import preparing, running
from lib.errors import AmpzeroError, TakenError, UsageError
from lib.files import storage_errors
from lib.instance import Instance
from lib.supervisor import daemon, handover
from lib.supervisor.launch import Launch, Report
from lib.supervisor.spec import Plan

OFFER_TIME = 75.0
"""Seconds until the old one has offered what it has: commands that are under way there end first."""

GONE_TIME = 10.0
"""Seconds in which it must be gone once it has let go; then it is killed, which ends nothing else."""


def is_due(plan: Plan) -> bool:
    """Whether the supervisor that runs `plan` is of another tree than this, and can be replaced."""
    is_other = bool(plan.command) and plan.command[-1] != preparing.LAUNCHER[-1]
    return is_other and not is_foreground(plan)


def is_foreground(plan: Plan) -> bool:
    """Whether somebody waits for the supervisor itself: a terminal, or what keeps an instance up."""
    found: object = json.loads(plan.notes.get("options", "{}")).get("foreground")
    return bool(found)


def succeed(instance: Instance, heard: Callable[[Report], None]) -> None:
    """Replace the supervisor of `instance` by one of this tree; returns when all that is wanted is ready.

    Call it with the lock of lib.reloading.begin.

    Raises: NotRunningError; TakenError when it is busy; AmpzeroError where the new one cannot be started, and
    the old one is still there; NotReadyError where a service is not ready under the new one.
    """
    client = running.connect(instance)
    old: int = client.call("status")["supervisor"]["pid"]
    with daemon.Starting(instance.name, instance.run / "supervisor.err") as process:
        process.until_loaded()
        with _taken_over(instance, old) as launch:
            plan = msgspec.structs.replace(launch.plan, command=preparing.LAUNCHER)
            process.run(msgspec.structs.replace(launch, plan=plan))
        process.wait(heard)


@contextmanager
def _taken_over(instance: Instance, old: int) -> Iterator[Launch]:
    """What the supervisor `old` had, which is gone by then.

    Raises: TakenError, and it stays; what the command `leave` raises.
    """
    path = instance.sockets / "succession.sock"
    path.unlink(missing_ok=True)
    with storage_errors(path), socket.socket(socket.AF_UNIX) as waiting:
        waiting.bind(str(path))
        try:
            waiting.listen(1)
            waiting.settimeout(OFFER_TIME)
            _ask(instance, str(path))
            with _closed_after(_accept(waiting, old)) as launch:
                yield launch
        finally:
            path.unlink(missing_ok=True)


def _ask(instance: Instance, path: str) -> None:
    try:
        running.connect(instance).call("leave", path=path)
    except UsageError as error:
        raise UsageError(
            f"the supervisor of {instance.name} is of a version that cannot be replaced while it runs",
            "ampzero stop, then ampzero run",
        ) from error


def _accept(waiting: socket.socket, old: int) -> Launch:
    handle = os.pidfd_open(old)
    try:
        channel, _ = waiting.accept()
        with channel:
            channel.settimeout(OFFER_TIME)
            if (launch := handover.receive(channel)) is None:
                raise TakenError("the supervisor is being changed, and was not replaced", "try again later")
            channel.sendall(b"\1")
        if not select.select([handle], [], [], GONE_TIME)[0]:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], GONE_TIME)
    except OSError as error:
        raise AmpzeroError(
            f"the supervisor did not hand over: {error}", "ampzero logs NAME supervisor"
        ) from error
    finally:
        os.close(handle)
    return launch


@contextmanager
def _closed_after(launch: Launch) -> Iterator[Launch]:
    try:
        yield launch
    finally:
        for handle in launch.descriptors():
            os.close(handle)
