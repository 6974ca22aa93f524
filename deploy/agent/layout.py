"""Where everything is on a host. Only this file knows; it reads and writes nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

KINDS = ("ampify", "instance", "secrets")
"""What is switched over: the tool, the instance's files, its secrets. A link of that name is the live one."""
TREE_NAME = re.compile(r"^(ampify|instance|secrets)-[0-9a-f]{16}\Z")
SHA256 = re.compile(r"^[0-9a-f]{64}\Z")
RELEASE = re.compile(r"^[0-9a-f]{12}\Z")


@dataclass(frozen=True)
class Layout:
    """The root folder of a host, `/opt/ampzero` unless deployment.yaml says otherwise."""

    root: Path

    @property
    def dist(self) -> Path:
        """Trees, the links to the live ones, tars, and what is on its way."""
        return self.root / "dist"

    @property
    def state(self) -> Path:
        """What the agent must not forget; 0700."""
        return self.root / "state"

    @property
    def var(self) -> Path:
        """The instance's amprun_root_directory."""
        return self.root / "var"

    @property
    def agent(self) -> Path:
        """The agent's own code; `current` is a link to what the keeper runs."""
        return self.root / "agent"

    @property
    def current(self) -> Path:
        """What is live, as one line of JSON."""
        return self.dist / ".current"

    @property
    def previous(self) -> Path:
        """What was live and healthy before it."""
        return self.dist / ".previous"

    @property
    def tars(self) -> Path:
        """The tars of current and previous: what a delta is applied to."""
        return self.dist / "tars"

    @property
    def blobs(self) -> Path:
        """Patches and archives on their way."""
        return self.dist / "patches"

    @property
    def lock(self) -> Path:
        """Its flock is held by whoever changes anything."""
        return self.dist / "lock-file"

    @property
    def manifests(self) -> Path:
        """The signed manifests of the releases that are here."""
        return self.state / "manifests"

    @property
    def decisions(self) -> Path:
        """The signed decisions, one an epoch."""
        return self.state / "decisions"

    @property
    def allowed_signers(self) -> Path:
        """Who may sign releases (ssh-keygen(1), ALLOWED SIGNERS)."""
        return self.state / "allowed_signers"

    @property
    def host_file(self) -> Path:
        """Name, environment and instance of this host; its being there makes the root folder ours."""
        return self.state / "host.json"

    @property
    def promise(self) -> Path:
        """The highest epoch that was promised, and to whom."""
        return self.state / "promise"

    @property
    def sequence(self) -> Path:
        """The highest sequence of a release that was accepted."""
        return self.state / "sequence"

    @property
    def journal(self) -> Path:
        """How far the deploy that is under way has come."""
        return self.state / "journal"

    @property
    def audit_log(self) -> Path:
        """What was ever done here; each line holds the hash of the one before."""
        return self.state / "audit.log"

    @property
    def releases(self) -> Path:
        """The last deploys and what became of them, as the coordinator told."""
        return self.state / "releases.json"

    @property
    def gate(self) -> Path:
        """Whether users are kept out, why, and what was stopped for it."""
        return self.state / "gate"

    @property
    def heard(self) -> Path:
        """Its time is when the coordinator was last heard."""
        return self.state / "heard"

    @property
    def boot(self) -> Path:
        """The boot that the keeper has seen to."""
        return self.state / "boot"

    @property
    def keeper_lock(self) -> Path:
        """Held by the keeper, whose pid it holds."""
        return self.state / "keeper.pid"

    def link(self, kind: str) -> Path:
        """The link to the live tree of a kind."""
        return self.dist / kind

    def tree(self, name: str) -> Path:
        """A tree, live or not."""
        return self.dist / name

    def tar(self, sha256: str) -> Path:
        """The kept tar with this hash."""
        return self.tars / f"{sha256}.tar"

    def blob(self, sha256: str) -> Path:
        """A blob on its way, or wholly here."""
        return self.blobs / sha256

    def manifest(self, release: str) -> Path:
        """The signed manifest of a release; its signature is beside it, `.sig`."""
        return self.manifests / f"{release}.json"

    def instance_var(self, instance: str) -> Path:
        """The running instance's own folder."""
        return self.var / instance
