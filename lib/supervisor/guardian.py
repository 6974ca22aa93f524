"""A process that outlives its supervisor by just so much: when that dies, it ends what is left, and goes.

For `on_crash: stop`. It holds the reading end of a pipe whose writing end only the supervisor has: the
kernel tells it of the death, however it came. It is forked before anything else is loaded, so it costs
little, and it holds the instance's lock while it cleans up, so that no new run begins in between.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from lib.supervisor import tree
from lib.supervisor.journal import living, replay

END_TIME = 5.0
"""Seconds that the children get to end by SIGTERM."""

GIVE_UP = 30.0
"""Seconds after which it leaves what cannot be killed."""


def guard(var: str, lock: int) -> int:
    """Start the guardian of the instance whose folder is `var`; returns in the supervisor.

    `lock` is the descriptor of the instance's lock. A byte that is written to the answer
    dismisses it.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    if os.fork():
        os.close(reader)
        # The writer stays open until this process ends, however it does.
        return writer
    # Not what keeps ports from others, or the pipe to the starter: these must close with the supervisor.
    for handle in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 -- names only
        if handle not in (0, 1, 2, reader, lock):
            with suppress(OSError):
                os.close(handle)
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if not os.read(reader, 1):
        end(var)
    os._exit(0)


def end(var: str) -> None:
    """End every process that carries the instance's mark, or that its journal knows."""
    mark = f"AMPZERO_VAR={var}".encode()
    known = replay(Path(var) / "state/journal").values()

    def look() -> set[int]:
        table = tree.table()
        return (tree.marked(mark, table) | living(known, table)) - {os.getpid()}

    begun = time.monotonic()
    asked: set[int] = set()
    while time.monotonic() - begun < GIVE_UP:
        # A machine without a free descriptor shows nothing: that is no proof that nothing is left.
        with suppress(OSError):
            left = look()
            if not left:
                return
            if time.monotonic() - begun > END_TIME:
                tree.kill(look)
            else:
                tree.send(left - asked, signal.SIGTERM)
                asked |= left
        time.sleep(0.02)
