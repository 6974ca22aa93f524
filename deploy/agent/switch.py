"""The switchover on one host: CLOSE, SWAP, START, OPEN, FINISH, and giving up.

Each step is written to the journal before it is begun, and once more when it is done; each can be repeated
after a crash at any point, by the coordinator or, where that is gone, by the keeper.
"""

from __future__ import annotations

from deploy.agent import audit, clean, durable, facts, gate, live, probe, settings
from deploy.agent.errors import AgentError
from deploy.agent.instance import InstanceControl
from deploy.agent.journal import UNDECIDED, Entry, Journal
from deploy.agent.layout import Layout
from deploy.agent.manifest import Manifest
from deploy.agent.stage import manifest_of

OPEN_TIME = 10.0
"""Seconds in which an instance that is ready must answer its users once the placeholder is gone."""


class Switch:
    """The steps of the deploy that is under way. `by` (coordinator, keeper) goes into the journal."""

    def __init__(self, layout: Layout, control: InstanceControl, by: str = "coordinator",
                 journal: Journal | None = None) -> None:  # fmt: skip
        self._layout = layout
        self._control = control
        self._by = by
        self._journal = journal or Journal(layout.journal)

    def close(self) -> None:
        """Keep users out, let their requests end, and stop what runs the old code.

        Raises: AgentError.
        """
        entry, manifest = self._decided()
        if manifest.compatible or entry.at_least("CLOSED"):
            return
        self._step(entry, "CLOSING")
        gate.close(self._layout, manifest.instance, f"the release {entry.release} is being deployed")
        if status := self._control.status():
            self._control.drain(status, manifest.policy.drain)
            services = self._control.code_services(status)
            gate.will_stop(self._layout, services)
            self._control.stop_services(services)
        self._step(entry, "CLOSED")

    def swap(self) -> None:
        """Make the new trees live.

        Raises: AgentError.
        """
        entry, manifest = self._decided()
        if entry.at_least("SWAPPED"):
            return
        if not manifest.compatible and not entry.at_least("CLOSED"):
            raise AgentError("this host has not closed yet")
        self._step(entry, "SWAPPING")
        settings.adopt(self._layout, manifest.instance)
        live.switch(self._layout, live.of_manifest(manifest, entry.sequence, facts.platform()))
        self._step(entry, "SWAPPED")

    def start(self) -> None:
        """Have the new release run, and return when it is healthy; users are let in only by `open`.

        Raises: AgentError; then this host stays closed, and says why.
        """
        entry, manifest = self._decided()
        if entry.at_least("HEALTHY"):
            return
        if not entry.at_least("SWAPPED"):
            raise AgentError("this host has not switched yet")
        self._step(entry, "STARTING")
        try:
            self._bring_up(manifest, entry)
        except AgentError as error:
            self._fail("STARTING", manifest, error)
            raise
        self._step(entry, "HEALTHY")

    def _bring_up(self, manifest: Manifest, entry: Entry) -> None:
        deadline = manifest.policy.health_deadline
        self._control.start(entry.release, deadline, may_stop=gate.read(self._layout).closed)
        if stopped := gate.read(self._layout).stopped:
            self._control.start_services(stopped, entry.release, deadline)
        if manifest.compatible:
            # A host that was closed for another reason (a boot, a release that failed) opens here.
            gate.open_(self._layout, manifest.instance)
        is_open = not gate.read(self._layout).closed
        gate.note_ports(self._layout, self._control.wait_healthy(entry.release, deadline, is_open=is_open))

    def open(self) -> None:
        """Let users in.

        Raises: AgentError; then this host is closed again, and says why.
        """
        entry, manifest = self._decided()
        if entry.at_least("OPEN"):
            return
        if not entry.at_least("HEALTHY"):
            raise AgentError("the release is not healthy here yet")
        self._step(entry, "OPENING")
        try:
            if not self._control.is_running():  # the machine was started anew since
                self._control.start(entry.release, manifest.policy.health_deadline)
            gate.open_(self._layout, manifest.instance)
            probe.wait_open(gate.read(self._layout).ports, OPEN_TIME)
        except AgentError as error:
            self._fail("OPENING", manifest, error)
            raise
        self._step(entry, "OPEN")

    def finish(self) -> str:
        """Record the release as healthy and clear up; the hash of the audit line.

        Raises: AgentError.
        """
        entry, manifest = self._decided()
        if entry.state != "FINISHED":
            if not entry.at_least("OPEN") and not (manifest.compatible and entry.at_least("HEALTHY")):
                raise AgentError("the release does not serve here yet")
            live.mark_healthy(self._layout)
            self._audit("deployed", entry)
            self._step(entry, "FINISHED")
            clean.clean(self._layout)
        return str(audit.verify(self._layout)["hash"])

    def abort(self, why: str) -> None:
        """Give up what is not decided: nothing of it was ever live.

        Raises: AgentError where it was decided, and that stands.
        """
        entry = self._journal.last()
        if entry is None or entry.state == "ABORTED":
            return
        if entry.state not in UNDECIDED:
            if entry.state == "FINISHED":
                return
            raise AgentError(
                f"the deploy of {entry.release} was decided, and cannot be given up",
                "ampzero deploy --resume finishes it; then ampzero rollback", 11,
            )  # fmt: skip
        self._audit("given up", entry, why=why)
        self._step(entry, "ABORTED", error=why)
        if gate.read(self._layout).boot:
            gate.open_(self._layout, facts.host(self._layout)["instance"])
        clean.clean(self._layout)

    def _decided(self) -> tuple[Entry, Manifest]:
        entry = self._journal.last()
        if entry is None or not entry.at_least("DURABLE"):
            state = "nothing is staged" if entry is None else f"the deploy is {entry.state.lower()}"
            raise AgentError(f"{state} here: nothing may be switched that is not decided", "", 11)
        return entry, manifest_of(self._layout, entry)

    def _step(self, entry: Entry, state: str, error: str = "") -> None:
        self._journal.step(state, by=self._by, error=error)

    def _fail(self, state: str, manifest: Manifest, error: AgentError) -> None:
        """Keep this host closed, unless a compatible release left the old one serving; note why."""
        if not manifest.compatible or self._control.unwell("", is_open=True):
            gate.close(self._layout, manifest.instance, f"the release failed here: {error.message}")
        self._journal.step(state, by=self._by, error=error.message)

    def _audit(self, event: str, entry: Entry, **more: str) -> None:
        """One line a deploy: a crash between it and the journal must not make two."""
        last = audit.last_line(self._layout) or {}
        same = {"event": event, "sequence": entry.sequence, "release": entry.release}
        if not all(last.get(key) == value for key, value in same.items()):
            audit.append(self._layout, event, sequence=entry.sequence, release=entry.release,
                         epoch=entry.epoch, by=self._by, **more)  # fmt: skip


def check_setup(layout: Layout) -> None:
    """Refuse work on a host that is not set up.

    Raises: AgentError.
    """
    facts.host(layout)
    durable.make_folder(layout.dist, 0o755)
