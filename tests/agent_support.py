"""A host for the tests of the agent: its root folder, releases that are signed for it, and what runs there.

`STAND_IN` takes the place of a release's bin/ampzero: real processes and real locks, and no instance.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from support import wait_for

from deploy.agent import facts
from deploy.agent.archive import Entry, write
from deploy.agent.layout import Layout
from deploy.agent.operations import OPERATIONS
from keys.keyfile import PrivateKey
from keys.ssh import signature as sshsig

NAMESPACE = "ampzero-release"
ROOT = Path(facts.__file__).resolve().parent.parent.parent

STAND_IN = """#!{python} -I
import fcntl, json, os, signal, subprocess, sys, tempfile, time
from pathlib import Path
if sys.argv[1:] == ["drive"]:
    for line in sys.stdin:
        asked = json.loads(line)
        argv = [sys.argv[0], *asked["argv"]]
        out, err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        done = subprocess.run(argv, env=asked["env"], stdout=out, stderr=err, stdin=subprocess.DEVNULL)
        out.seek(0), err.seek(0)
        said = {{"code": done.returncode, "out": out.read(), "err": err.read()}}
        print(json.dumps(said), flush=True)
    sys.exit()
verb, words = sys.argv[1], [word for word in sys.argv[2:] if not word.startswith("--")]
var = Path(os.environ["AMPZERO_ROOT"]) / "demo"
for name in ("run", "state"):
    (var / name).mkdir(parents=True, exist_ok=True)
lock, state, journal = var / "run/lock", var / "state/service.json", var / "state/journal"

def held():
    with open(lock, "a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False

def put(**new):
    now = json.loads(state.read_text()) if state.exists() else {{}}
    aside = state.with_suffix(f".{{os.getpid()}}")
    aside.write_text(json.dumps({{**now, **new}}))
    aside.rename(state)

def release():
    return os.environ.get("AMPZERO_RELEASE", "")

def fits():
    if (Path(words[0]) / "broken").exists():
        sys.stderr.write("ampzero: error: web does not become ready\\nhint: mend it\\n")
        sys.exit(6)

if verb == "hold":
    stream = open(lock, "a")
    fcntl.flock(stream, fcntl.LOCK_EX)
    journal.touch()
    signal.signal(signal.SIGTERM, lambda *_: (journal.unlink(missing_ok=True), os._exit(0)))
    print("held", flush=True)
    while True:
        signal.pause()
elif verb == "run" and "--dry-run" in sys.argv:
    if (Path(words[0]) / "refused").exists():
        sys.stderr.write("ampzero: error: nginx.conf:3: refused\\n")
        sys.exit(4)
elif verb in ("run", "reload", "start"):
    fits()
    running = held()
    if verb == "reload" and not running:
        sys.exit(10)
    if not running:
        process = subprocess.Popen([sys.argv[0], "hold"], stdout=subprocess.PIPE, start_new_session=True)
        process.stdout.readline()
        put(pid=process.pid, release=release(), state="ready", from_=os.readlink(words[0]))
    elif verb == "reload":
        put(release=release(), from_=os.readlink(words[0]))
    elif verb == "start":
        put(state="ready", release=release())
elif verb == "stop":
    if not held():
        sys.exit(10)
    if words[1:]:
        put(state="stopped")
    else:
        os.kill(json.loads(state.read_text())["pid"], 15)
        while held():
            time.sleep(0.01)
elif verb == "status":
    if not held():
        sys.exit(10)
    now = json.loads(state.read_text())
    process = {{"name": "web.1", "state": now["state"], "reason": "", "ports": [], "pid": now["pid"]}}
    service = {{"name": "web", "kind": "command", "state": now["state"], "processes": [process]}}
    print(json.dumps({{"state": "ready", "release": now["release"], "services": [service],
                      "sockets": {{"control": str(var / "run/control.sock")}}}}))
"""


class Site:
    """One host, set up for the instance `demo` in the environment `test`."""

    def __init__(self, folder: Path, name: str = "host-1", program: str = STAND_IN) -> None:
        self.layout = Layout(folder / "root")
        self.name = name
        self.program = program.format(python=sys.executable)
        self.key = PrivateKey.generate()
        self.blobs: dict[str, bytes] = {}
        self.heard: list[str] = []
        self.epoch = 0
        self.sequence = 0

    def set_up(self) -> list[str]:
        """As `deploy --setup` does."""
        answer = self(
            "setup", instance="demo", environment="test", name=self.name, user="", install=False,
            allowed_signers=sshsig.allowed_signer("me", self.key, NAMESPACE),
        )  # fmt: skip
        return list(answer["did"])

    def __call__(self, op: str, body: bytes = b"", **fields: Any) -> dict[str, Any]:
        """Ask the agent, in this process; the promised epoch goes with it."""
        fields.setdefault("epoch", self.epoch)
        return OPERATIONS[op](self.layout, fields, body, lambda event: self.heard.append(event["line"]))

    def promise(self, coordinator: str = "c") -> int:
        """The next epoch."""
        self.epoch += 1
        self("promise", coordinator=coordinator)
        return self.epoch

    def release(self, files: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        """A manifest, not signed yet, of a release with these files in the instance's tree."""
        trees = {}
        blobs = {}
        program = {"bin/ampzero": self.program}
        for kind, content in (
            ("ampify", program),
            ("instance", {"amprun.yaml": "name: demo\n", **(files or {})}),
        ):
            mode = 0o755 if kind == "ampify" else 0o644
            entries = [Entry(path, mode, text.encode()) for path, text in content.items()]
            out = io.BytesIO()
            sha256, digest = write(entries, out, 1_700_000_000)
            trees[kind] = {"name": f"{kind}-{sha256[:16]}", "sha256": sha256, "size": len(out.getvalue()),
                           "digest": digest}  # fmt: skip
            packed = gzip.compress(out.getvalue(), mtime=0)
            blob = hashlib.sha256(packed).hexdigest()
            self.blobs[blob] = packed
            blobs[blob] = {"kind": "full", "new": sha256, "size": len(packed)}
        self.sequence += 1
        release = hashlib.sha256(json.dumps(trees, sort_keys=True).encode()).hexdigest()[:12]
        policy = {"min_ready": 1.0, "on_orphan": "open-new", "orphan_after": 0.3, "health_deadline": 60,
                  "drain": 0.2, "hook_deadline": 60}  # fmt: skip
        return {
            "format": "ampzero/release/v1", "instance": "demo", "environment": "test", "release": release,
            "sequence": self.sequence, "commit": "c" * 40, "compatible": False, "hosts": [self.name],
            "trees": {facts.platform(): trees}, "blobs": blobs, "secrets": {"name": "", "files": []},
            "hooks": {"pre_update": ""}, "issued": "2026-01-01T00:00:00Z",
            "expires": "2999-01-01T00:00:00Z", **more, "policy": {**policy, **more.get("policy", {})},
        }  # fmt: skip

    def sign(self, content: dict[str, Any]) -> tuple[str, str]:
        """Canonical JSON, and its signature."""
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text, sshsig.sign(self.key, text.encode(), NAMESPACE)

    def stage(self, manifest: dict[str, Any]) -> None:
        """Stage it, and send what the host wants."""
        text, signature = self.sign(manifest)
        for sha256 in self("stage", manifest=text, signature=signature)["need"]:
            self("put", self.blobs[sha256], sha256=sha256, offset=0, size=len(self.blobs[sha256]))
        self("unpack")

    def decide(
        self, manifest: dict[str, Any], what: str = "commit", *, durable: bool = True, **more: Any
    ) -> None:
        """Tell the host a decision about the release."""
        said = {
            "format": "ampzero/decision/v1", "instance": "demo", "environment": "test",
            "release": manifest["release"], "sequence": manifest["sequence"], "epoch": self.epoch,
            "decision": what, "hosts": [self.name], "issued": "2026-01-01T00:00:00Z", **more,
        }  # fmt: skip
        text, signature = self.sign(said)
        self("decide", decision=text, signature=signature, durable=durable)

    def decided(self, manifest: dict[str, Any]) -> None:
        """All that comes before the switchover."""
        self.promise()
        self.stage(manifest)
        self("prepare")
        self.decide(manifest, durable=False)
        self.decide(manifest)

    def deploy(self, manifest: dict[str, Any]) -> None:
        """A whole deploy."""
        self.decided(manifest)
        for op in ("close", "swap", "start", "open", "finish"):
            self(op)

    @property
    def var(self) -> Path:
        """The instance's own folder."""
        return self.layout.var / "demo"

    @property
    def serving(self) -> str:
        """The release that the stand-in runs; empty where it does not."""
        found = self("status")["services"]
        return str(found["release"]) if found else ""

    @property
    def is_closed(self) -> bool:
        """Whether users get the placeholder page."""
        return (self.var / "run/placeholder").exists()

    def pid(self) -> int:
        """The pid of the stand-in's process; 0 for none."""
        try:
            return int(json.loads((self.var / "state/service.json").read_text())["pid"])
        except OSError:
            return 0

    def power_cut(self) -> None:
        """End what runs, as a power cut does, and have the next start of the keeper be a boot."""
        self.kill()
        self.layout.boot.unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL to what the stand-in runs."""
        if pid := self.pid():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            assert wait_for(lambda: not self.runs(pid))

    def runs(self, pid: int) -> bool:
        """Whether a process lives."""
        with suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text()
            return stat[stat.rindex(")") + 2] not in "ZX"
        return False


def agent_archive(path: Path) -> Path:
    """The agent as one archive, as the bootstrap makes it."""
    from deploy.bootstrap import bundle

    path.write_bytes(bundle().data)
    assert zipfile.is_zipfile(path)
    return path


def start_keeper(site: Site) -> subprocess.Popen[bytes]:
    """The keeper of a host as a process of its own, from the archive."""
    current = site.layout.agent / "current"
    if not current.exists():
        agent_archive(site.layout.agent / "agent-0123456789abcdef.pyz")
        current.symlink_to("agent-0123456789abcdef.pyz")
    return subprocess.Popen([sys.executable, "-I", current, "keep", "--root", site.layout.root])
