"""The supervisor's own process: gets a Launch over the socket on its standard input, and runs the plan.

Started by lib/supervisor/daemon.py, usually before there is a plan: it loads meanwhile, and ends without a
word when its starter goes. As little as possible is loaded, and the control sockets' library never before
the first processes when these could start: it starts fast and stays for months.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

# As in ampzero.py: our own folder goes first, so that a foreign `lib` never shadows ours.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from lib.bundled import use_bundled

use_bundled(Path(__file__).resolve().parent.parent.parent)

HANDED_DESCRIPTORS = 16
"""Descriptors below this are kept, from the first moment to the last, for sockets on their way to a child."""

UNUSED = ("ssl", "_hashlib")
"""OpenSSL, which asyncio and hashlib take along where it is: a fifth of our memory, for nothing that we do.
hashlib has functions of its own; a probe of https is a program of its own (lib/https_probe.py)."""


def keep_low_descriptors() -> int:
    """Have something harmless at every low descriptor; the answer is one more of that kind.

    Sockets that are handed to children stand there for a moment (child.py). What another thread uses must
    never be there: libzmq ends the process when a connection of its own is suddenly another file. Hence
    before anything else is opened: what is closed later would leave its place to such a connection.
    """
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    while null < HANDED_DESCRIPTORS:
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    return null


def main() -> int:
    """Run the plan that comes over standard input; the exit code says how it ended."""
    null = keep_low_descriptors()
    # What is loaded stays: a look for garbage among it, every few modules, would find next to nothing.
    gc.disable()
    for name in UNUSED:
        sys.modules[name] = None  # type: ignore[assignment]  # the documented way to make an import fail

    import asyncio
    import select
    import socket

    from msgspec.structs import replace

    from lib.supervisor import handover, openfiles
    from lib.supervisor.guardian import guard
    from lib.supervisor.live import live

    channel = socket.socket(fileno=os.dup(0))
    if not select.select([channel], [], [], 0)[0]:
        # There is no plan yet, so there is time for what would be loaded beside the first processes.
        import lib.control.faces
        import lib.control.server  # noqa: F401 -- live.py uses it
    gc.enable()
    handover.say_loaded(channel)
    launch = handover.receive(channel)
    if launch is None:
        return 0
    progress = -1 if launch.foreground else channel.detach()
    channel.close()
    launch = replace(launch, progress=progress, open_files=openfiles.lower_limit(launch))
    os.dup2(null, 0)
    os.umask(0o077)
    # The lock came from our starter, with its pid in it; from now on it is ours.
    os.ftruncate(launch.lock, 0)
    os.pwrite(launch.lock, f"{os.getpid()}\n".encode(), 0)
    guardian = guard(launch.plan.var, launch.lock) if launch.plan.on_crash == "stop" else -1
    return asyncio.run(live(launch, guardian))


if __name__ == "__main__":
    # All is closed, and no buffer holds anything: taking the interpreter apart as well would take as long as
    # half a stop.
    os._exit(main())
