"""A host without its coordinator: it finishes what is decided, by itself and from what it has.

A release that may not serve beside the old one is opened only after every host that knows the decision must
have closed: each closes `orphan_after` seconds after it last heard of its coordinator, at the latest.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from deploy.agent import facts, gate
from deploy.agent.instance import InstanceControl
from deploy.agent.journal import Entry, Journal
from deploy.agent.layout import Layout
from deploy.agent.manifest import Manifest
from deploy.agent.stage import manifest_of
from deploy.agent.switch import Switch

MARGIN = 10.0
"""Seconds on top of `orphan_after` until a host that hears nobody must have closed (FENCE_MARGIN)."""


class RollForward:
    """What the keeper knows about the deploy that is under way. `clock` only goes on (time.monotonic)."""

    def __init__(self, layout: Layout, control: InstanceControl,
                 clock: Callable[[], float] = time.monotonic) -> None:  # fmt: skip
        self._layout = layout
        self._switch = Switch(layout, control, by="keeper")
        self._journal = Journal(layout.journal)
        self._clock = clock
        self._heard = (0.0, clock())
        self._closed: tuple[int, float] | None = None
        self._boot: Entry | None = None
        """The deploy that was found at a boot: nobody is attached to this host until somebody is heard."""

    def after_boot(self) -> None:
        """The machine was started anew, and nothing serves yet.

        Raises: AgentError.
        """
        self._boot = entry = self._journal.pending()
        self._heard = (self._last_heard(), self._clock())
        if entry is None:
            return
        if entry.state == "STAGED":
            self._switch.abort("the host was started anew")
        elif not entry.at_least("DURABLE"):
            self._keep_users_out(entry)

    def _keep_users_out(self, entry: Entry) -> None:
        why = f"it is not decided whether {entry.release} or the release before it is to be served"
        gate.close(self._layout, facts.host(self._layout)["instance"], why, boot=True)

    def is_busy(self) -> bool:
        """Whether a deploy is under way that this host may have to finish.

        Raises: AgentError.
        """
        entry = self._journal.pending()
        return entry is not None and entry.at_least("COMMITTED")

    def step(self) -> bool:
        """Do the next step, where it is this host's to do; whether another may follow at once.

        Raises: AgentError.
        """
        entry = self._journal.pending()
        if entry is None or not entry.at_least("COMMITTED"):
            self._closed = None
            return False
        manifest = manifest_of(self._layout, entry)
        if not self._is_alone(entry, manifest.policy.orphan_after):
            return False
        if entry.state == "COMMITTED":
            # The decision may stand by now, and others open what it says: the old release ends here.
            if not manifest.compatible and not gate.read(self._layout).closed:
                self._keep_users_out(entry)
            return False
        return self._next(entry, manifest)

    def _next(self, entry: Entry, manifest: Manifest) -> bool:
        if not entry.at_least("CLOSED") and not manifest.compatible:
            self._switch.close()
        elif not entry.at_least("SWAPPED"):
            self._switch.swap()
        elif not entry.at_least("HEALTHY"):
            self._switch.start()
        elif manifest.policy.on_orphan == "stay-closed" or not self._may_open(entry, manifest):
            return False
        elif not entry.at_least("OPEN") and not manifest.compatible:
            self._switch.open()
        else:
            self._switch.finish()
        return True

    def _is_alone(self, entry: Entry, orphan_after: float) -> bool:
        """Whether no coordinator was heard for so long; the machine's clock, which may be set, counts not."""
        seen = self._last_heard()
        if seen != self._heard[0]:
            self._boot = None
            self._heard = (seen, self._clock())
        at_boot = self._boot is not None and self._boot.sequence == entry.sequence
        return at_boot or self._clock() - self._heard[1] >= orphan_after

    def _last_heard(self) -> float:
        try:
            return self._layout.heard.stat().st_mtime
        except OSError:
            return 0.0

    def _may_open(self, entry: Entry, manifest: Manifest) -> bool:
        """Whether every other host that serves the old release must have closed."""
        alone = any(
            each.state == "SWAPPING" and each.by == "keeper" and each.sequence == entry.sequence
            for each in self._journal.entries()
        )
        if manifest.compatible or not alone:
            return True  # the coordinator had this host switch, so all had closed
        if self._closed is None or self._closed[0] != entry.sequence:
            self._closed = (entry.sequence, self._clock())
        return self._clock() - self._closed[1] >= manifest.policy.orphan_after + MARGIN
