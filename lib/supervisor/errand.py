"""A command that the supervisor has run for itself: what it prints goes into the supervisor's own log."""

from __future__ import annotations

from collections.abc import Mapping

from lib.supervisor.child import Children, Exit, run_command
from lib.supervisor.output import OutputPipe, ServiceLog


async def run(
    children: Children, argv: tuple[str, ...], *, env: Mapping[str, str], timeout: float, log: ServiceLog
) -> Exit:
    """Run `argv` to its end, or kill it after `timeout` seconds.

    Raises: OSError when it cannot be started, as without a free descriptor.
    """
    pipe = OutputPipe(log, 0, "err")
    try:
        return await run_command(children, argv, cwd="/", env=env, timeout=timeout, output=pipe.writer)
    finally:
        pipe.started()
        pipe.close()
