"""What feeds the log pane: the last lines of what is selected, and then what is written."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from lib.logs.merge import Follower, Selection
from lib.view.model import Row

if TYPE_CHECKING:
    from lib.view.logpane import LogPane

TAIL = 1000
"""Earlier lines that are loaded when something is selected."""


class Feed:
    """Follows the logs in the folder `logs`. While `paused` nothing is lost: it goes on where it was."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._follower: Follower | None = None
        self.paused = False

    async def load(self, row: Row, pane: LogPane) -> None:
        """Fill `pane` with the last lines of `row`; may be cancelled by the next one."""
        self.close()
        names = frozenset({row.key}) if "." in row.key else frozenset[str]()
        follower = Follower(self._logs, [row.service] if row.service else [], Selection(names=names))
        records = await asyncio.to_thread(follower.tail, TAIL)
        # Without an await from here on: another selection would have cancelled this one before.
        pane.names = row.processes > 1
        pane.clear()
        pane.add(records)
        self._follower = follower

    def follow(self, pane: LogPane) -> bool:
        """Add what was written since the last time; whether there is a log at all."""
        if self._follower is None or self.paused:
            return False
        if records := self._follower.poll():
            pane.add(records)
        return True

    def close(self) -> None:
        """Let go of the files."""
        if self._follower is not None:
            self._follower.close()
        self._follower = None
