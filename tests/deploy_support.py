"""Hosts in memory that behave as an agent does, for tests of the coordinator; and what they did in order."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from deploy.environment import Host
from lib.errors import AmpzeroError, NotReadyError, RefusedError, UnreachableError

ORDER = ["staged", "prepared", "committed", "durable", "closed", "swapped", "healthy", "open", "finished"]


class Site:
    """All hosts of a test. `events` is what happened, in order: (host, what)."""

    def __init__(self) -> None:
        self.hosts: dict[str, Agent] = {}
        self.events: list[tuple[str, str]] = []
        self.lock = threading.Lock()

    def add(self, name: str, **given: Any) -> Agent:
        self.hosts[name] = Agent(self, name, **given)
        return self.hosts[name]

    def open(self, host: Host) -> Agent:
        agent = self.hosts[host.name]
        agent.check("connect")
        return agent

    def note(self, name: str, what: str) -> None:
        with self.lock:
            self.events.append((name, what))


class Agent:
    """One host's agent. `fails` says for each operation how it fails: "dies", for good, or "refuses"."""

    def __init__(self, site: Site, name: str, *, release: str = "old", state: str = "open") -> None:
        self.site = site
        self.name = name
        self.fails: Callable[[str], str] = lambda op: ""
        self.dead = False
        self.promised = 0
        self.sequence = 1
        self.live = {
            "release": release,
            "sequence": 1,
            "ampify": "ampify-1",
            "instance": f"instance-{release}",
        }
        self.previous: dict[str, Any] | None = None
        self.state = state
        self.serves = release
        self.pending: dict[str, Any] | None = None
        self.records: list[dict[str, Any]] = []
        self.manifests: dict[str, str] = {release: "{}"}
        self.trees = {"ampify-1", f"instance-{release}"}
        self.compatible = False
        self.on_ping: Callable[[], object] = lambda: None

    def check(self, op: str) -> None:
        if self.dead:
            raise UnreachableError(f"{self.name}: no answer")
        match self.fails(op):
            case "dies":
                self.dead = True
                raise UnreachableError(f"{self.name}: no answer")
            case "refuses":
                raise NotReadyError(f"{self.name}: {op} failed")

    def close(self) -> None:
        return

    def call(
        self, op: str, body: bytes = b"", *, timeout: float, heard: Any = None, **fields: Any
    ) -> dict[str, Any]:
        self.check(op)
        if op in ("hello", "manifest", "record", "history", "promise"):
            return dict(getattr(self, f"do_{op}")(**fields) or {})
        if op != "decide" and fields.get("epoch") != self.promised:
            raise RefusedError(f"{self.name}: another epoch was promised")
        return dict(getattr(self, f"do_{op}")(**fields) or {})

    def do_hello(self) -> dict[str, Any]:
        return {
            "platform": "p", "python": "3.11", "user": "u", "clock": time.time(), "disk_free": 10**12,
            "root_exists": True, "ours": True, "current": self.live, "previous": self.previous,
            "promised": self.promised, "sequence": self.sequence, "pending": self.pending,
            "state": self.state,
            "trees": sorted(self.trees), "instance": "demo", "environment": "test", "name": self.name,
        }  # fmt: skip

    def do_promise(self, epoch: int, coordinator: str) -> None:
        if epoch <= self.promised:
            raise RefusedError(f"{self.name}: epoch {self.promised} was promised")
        self.promised = epoch

    def do_stage(self, manifest: str, signature: str, epoch: int) -> dict[str, Any]:
        said = json.loads(manifest)
        if said["sequence"] < self.sequence or (self.pending is None and said["sequence"] <= self.sequence):
            raise RefusedError(f"{self.name}: sequence {said['sequence']} is not new")
        same = self.pending is not None and self.pending["sequence"] == said["sequence"]
        before = self.pending if same and self.pending else {"state": "staged", "decision": ""}
        self.pending = {
            "state": before["state"], "epoch": epoch, "sequence": said["sequence"], "hosts": [],
            "release": said["release"], "decision": before["decision"],
        }  # fmt: skip
        self.sequence = said["sequence"]
        self.compatible = said["compatible"]
        self.manifests[said["release"]] = manifest
        self.trees.add(said["trees"]["p"]["instance"]["name"])
        return {"need": []}

    def do_unpack(self, epoch: int) -> None:
        assert self.pending

    def do_hook(self, which: str, epoch: int, argv: Any = None, role: str = "") -> dict[str, Any]:
        return {"code": 0}

    def do_ping(self, epoch: int) -> None:
        self.on_ping()

    def do_healthy(self, epoch: int) -> None:
        return

    def do_prepare(self, epoch: int) -> None:
        self._forward("prepared")

    def do_decide(self, decision: str, signature: str, durable: bool) -> None:
        said = json.loads(decision)
        if said["epoch"] < self.promised:
            raise RefusedError(f"{self.name}: epoch {self.promised} was promised")
        if said["decision"] == "abort":
            if self.pending and self.pending["state"] in ("staged", "prepared", "committed"):
                self.pending = None
            return
        if self.pending and self.name in said["hosts"]:
            self.pending["decision"] = "commit"
            self._forward("durable" if durable else "committed")

    def do_close(self, epoch: int) -> None:
        self._needs("durable")
        self.state = "closed"
        self.serves = ""
        self.site.note(self.name, "close")
        self._forward("closed")

    def do_swap(self, epoch: int) -> None:
        assert self.pending
        self._needs("durable" if self.compatible else "closed")
        if self.live["release"] != self.pending["release"]:
            self.previous = self.live
        self.live = {**self.live, "release": self.pending["release"], "sequence": self.pending["sequence"],
                     "instance": f"instance-{self.pending['release']}"}  # fmt: skip
        self._forward("swapped")

    def do_start(self, epoch: int) -> None:
        self._needs("swapped")
        if self.compatible:
            self._serve()
        self._forward("healthy")

    def do_open(self, epoch: int) -> None:
        self._needs("healthy")
        self._serve()
        self._forward("open")

    def do_finish(self, epoch: int) -> None:
        self._needs("healthy" if self.compatible else "open")
        self.pending = None
        self.site.note(self.name, "finish")

    def do_manifest(self, release: str) -> dict[str, Any]:
        if release not in self.manifests:
            raise AmpzeroError(f"{self.name}: no manifest of {release}")
        return {"manifest": self.manifests[release], "signature": ""}

    def do_record(self, entry: dict[str, Any]) -> None:
        self.records.append(entry)

    def do_history(self) -> dict[str, Any]:
        return {"deploys": self.records}

    def _serve(self) -> None:
        assert self.pending
        self.state, self.serves = "open", self.pending["release"]
        self.site.note(self.name, f"open {self.pending['release']}")

    def _needs(self, state: str) -> None:
        if self.pending is None or ORDER.index(self.pending["state"]) < ORDER.index(state):
            raise AmpzeroError(f"{self.name}: not yet {state}")

    def _forward(self, state: str) -> None:
        assert self.pending
        if ORDER.index(self.pending["state"]) < ORDER.index(state):
            self.pending["state"] = state


class Quiet:
    """Tells nothing."""

    def step(self, text: str) -> None:
        """Nothing."""

    def host(self, name: str, text: str) -> None:
        """Nothing."""

    def failed(self, name: str, text: str) -> None:
        """Nothing."""

    def output(self, name: str, line: str) -> None:
        """Nothing."""
