"""Ends what no living child owns: the orphans of children that crashed, and at a shutdown all there is.

A child's own tree is ended by ending.py while the child, or its session, is there to lead to it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable

from lib.supervisor import tree
from lib.supervisor.child import Children
from lib.supervisor.process import Process

AFTER = 0.05
"""Seconds after a crash before strays of the old child are looked for; crashes within it share one look."""

LIMIT = 5.0
"""Seconds that an end may take before what is left is named."""
ROUNDS = 20
"""Times to kill what is found, at least: on a machine with too much to do a single one may take long."""
PAUSE = 0.02
"""Seconds between two rounds."""


class Sweeper:
    """The broom of one instance."""

    def __init__(self, var: str, children: Children, processes: Callable[[], Iterable[Process]]) -> None:
        """`processes` are those of now; `var` is the instance's var folder, which its marks carry."""
        self.adopted = False
        """Whether children of a supervisor that died were taken over: their orphans do not fall to us."""
        self._ours = f":{var}".encode()
        self._var = f"AMPZERO_VAR={var}".encode()
        self._children = children
        self._processes = processes
        self._timer: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """A child has ended by itself: look shortly for what it left behind."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(AFTER, self._sweep)

    def stop(self) -> None:
        """Sweep no more by itself."""
        if self._timer is not None:
            self._timer.cancel()

    def _sweep(self) -> None:
        """End what is abandoned, and look again until there is nothing of it."""
        self._timer = None
        try:
            if not self.abandoned():
                return
            tree.kill(self.abandoned)
        except OSError:
            # The table cannot be read now: no descriptor is left.
            pass
        self.soon()

    def abandoned(self) -> set[int]:
        """Orphans that carry the mark of no child that lives, and all below them.

        Raises: OSError when the process table cannot be read.
        """
        table = tree.table()
        current = {process.mark for process in self._processes() if process.child}
        strays = tree.strays(os.getpid(), self._children, table)
        if self.adopted:
            # They fell out of the instance: the parent is somebody without our mark.
            strays |= {
                line.pid
                for line in table.values()
                if line.pid not in self._children
                and table.carries(line.pid, self._var)
                and self._var not in tree.environ(line.parent)
            }
        return tree.with_descendants((pid for pid in strays if self._lost(tree.environ(pid), current)), table)

    def _lost(self, environ: frozenset[bytes], current: set[bytes]) -> bool:
        marks = {item for item in environ if item.startswith(b"AMPZERO_SPAWN=") and item.endswith(self._ours)}
        return bool(marks) and not marks & current

    async def end_abandoned(self) -> list[str]:
        """End the same now; the answer names what could not be ended, `pid 12 (command)` each."""
        return await self._end(self.abandoned)

    async def end_everything(self) -> list[str]:
        """End all below this process and all that carries the instance's mark; the answer as above."""
        return await self._end(self._everything)

    def _everything(self) -> set[int]:
        table, me = tree.table(), os.getpid()
        found = tree.marked(self._var, table) | tree.with_descendants([me], table)
        return found - {me, *tree.ancestors(me, table)}

    async def _end(self, look: Callable[[], set[int]]) -> list[str]:
        began = time.monotonic()
        left: set[int] = set()
        blind, rounds = "", 0
        while rounds < ROUNDS or time.monotonic() - began < LIMIT:
            try:
                left, blind = look(), ""
                if not left:
                    return []
                # What they fork while they are being killed must not get away.
                tree.kill(look)
            except OSError as error:
                blind = f"the process table cannot be read: {error.strerror}"
            rounds += 1
            await asyncio.sleep(PAUSE)
        return [blind] if blind else [f"pid {pid} ({tree.command_line(pid)})" for pid in sorted(left)]
