"""The workers of a program that takes up its files by a signal: new ones begin, and the old ones finish.

So does nginx (nginx.org, Controlling nginx): its master reads the file, starts workers that have it, and lets
the old ones answer what they have. A master that refuses the file keeps its old workers.
"""

from __future__ import annotations

import asyncio
import time

from lib.supervisor import tree

BEGIN_TIME = 6.0
"""Seconds until a new worker must be there: nginx tries for 2.5 to get an address that is taken."""

FINISH_TIME = 15.0
"""Seconds that are given to the old ones: nginx.conf's worker_shutdown_timeout should be shorter."""

PAUSE = 0.05


def of(leader: int) -> frozenset[int]:
    """The workers of `leader` now."""
    return frozenset(tree.table().children.get(leader, ()))


async def renewed(leader: int, before: frozenset[int]) -> bool:
    """Wait until `leader` has others than the workers `before`, and these are gone or out of time.

    False when it begins none. One without workers, and one that ends meanwhile, counts as renewed.
    """
    begun = time.monotonic()
    while before and tree.lives(leader):
        now, passed = of(leader), time.monotonic() - begun
        if not now & before or passed > FINISH_TIME:
            break
        if not now - before and passed > BEGIN_TIME:
            return False
        await asyncio.sleep(PAUSE)
    return True
