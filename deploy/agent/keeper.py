"""The process that stays on a host: starts the instance at boot, through the gate; restarts a supervisor that
was killed; finishes a deploy whose coordinator is gone.

It does nothing while another holds the host's lock. Its own end, however it comes, ends nothing else.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from deploy.agent import durable, facts, gate, live
from deploy.agent.errors import AgentError
from deploy.agent.instance import InstanceControl
from deploy.agent.journal import Journal
from deploy.agent.layout import Layout
from deploy.agent.owner import become_owner
from deploy.agent.rollforward import RollForward

PERIOD, BUSY_PERIOD = 10.0, 1.0
"""Seconds between two looks; and while a deploy is under way."""
START_TIME = 180.0
PAUSE_FIRST, PAUSE_MOST = 5.0, 300.0
"""Seconds until what failed is tried again: doubled each time."""
LOG_MAX = 1 << 20
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_identity() -> str:
    """Another text after each start of the machine, also where that is a container with its own process 1."""
    try:
        stat = Path("/proc/1/stat").read_text()
        started = stat[stat.rindex(")") + 2 :].split()[19]  # proc(5): field 22, in clock ticks
    except (OSError, ValueError, IndexError):
        started = ""
    try:
        return f"{BOOT_ID.read_text().strip()} {started}".strip()
    except OSError:
        return started


class Keeper:
    """Keeps the instance of one host up. `look` is one round."""

    def __init__(self, layout: Layout, control: InstanceControl, forward: RollForward) -> None:
        self._layout = layout
        self._control = control
        self._forward = forward
        self._journal = Journal(layout.journal)
        self._pause = PAUSE_FIRST
        self._again = 0.0

    def look(self) -> float:
        """See to what is to be done now; the seconds until the next look."""
        lock = durable.Lock(self._layout.lock)
        try:
            if time.monotonic() >= self._again and lock.acquire():
                self._work()
                self._pause = PAUSE_FIRST
            return BUSY_PERIOD if self._forward.is_busy() else PERIOD
        except AgentError as error:
            log(self._layout, f"{error.message}; {error.hint}".rstrip("; "))
            self._again = time.monotonic() + self._pause
            self._pause = min(PAUSE_MOST, 2 * self._pause)
            return min(PERIOD, self._pause)
        finally:
            lock.release()

    def _work(self) -> None:
        identity = boot_identity()
        is_boot = (durable.read(self._layout.boot) or b"").decode() != identity
        if is_boot:
            log(self._layout, "the machine was started")
            self._forward.after_boot()
        self._keep_up(is_boot=is_boot)
        while self._forward.step():
            entry = self._journal.last()
            log(self._layout, f"without a coordinator: {entry.state.lower() if entry else ''}")
        if is_boot:
            durable.write(self._layout.boot, identity.encode())

    def _keep_up(self, *, is_boot: bool) -> None:
        now = live.current(self._layout)
        pending = self._journal.pending()
        # The old release is not started any more once the new one stands; `start` of the deploy does that.
        is_half = pending is not None and pending.at_least("DURABLE") and not pending.at_least("HEALTHY")
        if now is None or is_half or self._control.is_running():
            return
        if is_boot or self._control.crashed():
            log(self._layout, f"starting {now.release}")
            gate.apply(self._layout, facts.host(self._layout)["instance"])
            self._control.start(now.release, START_TIME)


def log(layout: Layout, text: str) -> None:
    """Write a line to the keeper's own log, which does not grow for ever."""
    path = layout.state / "keeper.log"
    try:
        if path.exists() and path.stat().st_size > LOG_MAX:
            path.replace(path.with_suffix(".log.1"))
        with path.open("a") as stream:
            stream.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")
    except OSError:
        return  # a full disk is no reason to end


def main(root: Path) -> None:
    """Keep the host at `root` until SIGTERM; where another keeper does so already, there is nothing to do."""
    layout = Layout(root)
    become_owner(layout)
    name = facts.host(layout)["instance"]
    lock = durable.Lock(layout.keeper_lock)
    if not lock.acquire():
        return
    # Whatever it does, it may be ended there: every step can be done again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    code = _code(layout)
    control = InstanceControl(layout, name)
    keeper = Keeper(layout, control, RollForward(layout, control))
    log(layout, f"keeper {os.getpid()} begins")
    try:
        while _code(layout) == code:
            try:
                pause = keeper.look()
            finally:
                control.close()
            time.sleep(pause)
    except SystemExit:
        log(layout, "keeper ends")
        raise
    log(layout, "another version of the agent is here: going over to it")
    argv = [sys.executable, "-I", str(layout.agent / "current"), "keep", "--root", str(root)]
    os.execv(sys.executable, argv)  # noqa: S606 -- no shell is wanted; the lock is taken anew


def _code(layout: Layout) -> str:
    """What R/agent/current points to."""
    try:
        return str((layout.agent / "current").readlink())
    except OSError:
        return ""
