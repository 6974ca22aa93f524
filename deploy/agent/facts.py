"""What this host says about itself. Changes nothing."""

from __future__ import annotations

import os
import platform as python_platform
import pwd
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from deploy.agent import blobs, durable, gate, live, promise, settings
from deploy.agent.errors import AgentError
from deploy.agent.instance import InstanceControl
from deploy.agent.journal import Entry, Journal
from deploy.agent.layout import SHA256, TREE_NAME, Layout
from deploy.agent.manifest import Decision

TOOLS = {
    "nginx": ("-v",), "redis-server": ("--version",), "etcd": ("--version",), "openssl": ("version",),
    "ssh-keygen": (), "git": ("--version",),
}  # fmt: skip
"""Programs that an instance may need, and how each says its version."""
KEYSPACE_DATA = "data/keyspace/member"
"""Where etcd's own folder is in the instance's: it is there from a member's first start on."""
VERSION = re.compile(r"\d+(?:\.\d+)+")
VERSION_TIME = 5.0


@cache
def platform() -> str:
    """What wheels this host's Python can use: linux-x86_64-glibc2.36-cp311."""
    libc, version = python_platform.libc_ver()
    if libc != "glibc":
        libc, version = "musl", _musl_version()
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return f"{sys.platform}-{python_platform.machine()}-{libc}{version}-{python}"


def _musl_version() -> str:
    """musl says its version only by its loader, which is the program that `ldd` is."""
    for loader in Path("/lib").glob("ld-musl-*.so.1"):
        said = subprocess.run([loader], capture_output=True, text=True, timeout=VERSION_TIME, check=False)
        found = re.search(r"Version (\d+\.\d+)", said.stderr)
        if found:
            return found[1]
    return ""


def tools() -> dict[str, str]:
    """The version of each known program that is here; empty where it does not say."""
    return {name: _version(path, words) for name, words in TOOLS.items() if (path := shutil.which(name))}


def _version(path: str, words: tuple[str, ...]) -> str:
    if not words:
        return ""
    try:
        said = subprocess.run(
            [path, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=VERSION_TIME, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = VERSION.search(said.stdout + said.stderr)
    return found[0] if found else ""


def host(layout: Layout) -> dict[str, str]:
    """The host's name, environment and instance.

    Raises: AgentError where it was not set up.
    """
    kept = durable.read_json(layout.host_file)
    if kept is None:
        raise AgentError(f"{layout.root} is not set up", "ampzero deploy --setup", 5)
    return {name: str(kept.get(name, "")) for name in ("name", "environment", "instance")}


def hello(layout: Layout) -> dict[str, Any]:
    """The facts that a coordinator asks first (deploy/facts.py).

    Raises: AgentError where a file of state is damaged.
    """
    there = layout.root
    while not there.exists():
        there = there.parent
    found: dict[str, Any] = {
        "platform": platform(), "python": python_platform.python_version(),
        "machine": python_platform.machine(), "libc": platform().split("-")[2],
        "user": pwd.getpwuid(os.getuid()).pw_name, "clock": time.time(),
        "disk_free": shutil.disk_usage(there).free, "root_exists": _has_content(layout.root),
        "ours": layout.host_file.is_file(), "tools": tools(), "state": "none", "promised": 0, "sequence": 0,
        "current": None, "previous": None, "pending": None, "trees": [], "tars": [], "zstd": False,
    }  # fmt: skip
    if not found["ours"]:
        return found
    # sshd(8): the addresses and ports of the client and of this host, as the connection came in.
    connection = os.environ.get("SSH_CONNECTION", "").split()
    found["address"] = connection[2] if len(connection) == 4 else ""
    current, previous = live.current(layout), live.previous(layout)
    kept = durable.read_json(layout.sequence) or {}
    epoch = promise.promised(layout).epoch
    mine = host(layout)
    state, since = _state(layout, mine["instance"], current)
    return found | mine | {
        "current": asdict(current) if current else None, "previous": asdict(previous) if previous else None,
        "promised": epoch, "epoch": epoch, "sequence": int(kept.get("sequence", 0)),
        "pending": _pending(layout), "state": state, "since": since, "why": gate.read(layout).why,
        "trees": sorted(each.name for each in layout.dist.iterdir() if TREE_NAME.match(each.name)),
        "tars": sorted(each.stem for each in layout.tars.iterdir() if SHA256.match(each.stem))
        if layout.tars.is_dir() else [],
        "zstd": blobs.has_zstd(layout), "settings": settings.told(layout, mine["instance"]),
        "keyspace_data": (layout.instance_var(mine["instance"]) / KEYSPACE_DATA).is_dir(),
    }  # fmt: skip


def _has_content(root: Path) -> bool:
    """Whether there is more in the root folder than an agent that was just copied there."""
    return root.exists() and (not root.is_dir() or any(each.name != "agent" for each in root.iterdir()))


def _state(layout: Layout, instance: str, current: live.Live | None) -> tuple[str, str]:
    if current is None:
        return "none", ""
    wanted = gate.read(layout)
    since = datetime.fromtimestamp(wanted.since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if wanted.since else ""
    if not InstanceControl(layout, instance).is_running():
        return "stopped", since
    return "closed" if wanted.closed else "open", since


def _pending(layout: Layout) -> dict[str, Any] | None:
    entry = Journal(layout.journal).pending()
    if entry is None:
        return None
    decision = decided(layout, entry)
    word = "" if decision is None else "commit" if decision.commit else "abort"
    return {
        "state": entry.state, "epoch": entry.epoch, "sequence": entry.sequence, "release": entry.release,
        "decision": word, "hosts": list(decision.hosts) if decision else [], "error": entry.error,
    }  # fmt: skip


def decided(layout: Layout, entry: Entry) -> Decision | None:
    """The newest decision about a deploy that this host keeps, also as a witness.

    Raises: AgentError.
    """
    for path in sorted(layout.decisions.glob("[0-9]*"), key=lambda each: int(each.name), reverse=True):
        kept = durable.read_json(path) or {}
        decision = Decision.parse(str(kept.get("decision", "")).encode())
        if (decision.release, decision.sequence) == (entry.release, entry.sequence):
            return decision
    return None
