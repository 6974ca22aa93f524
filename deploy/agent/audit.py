"""What was done on this host: a line each, with the hash of the one before, so none can be changed alone.

Whoever can write the file can write all of it anew; what cannot be undone is a hash that was told elsewhere:
`finish` and `status` tell it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from typing import Any

from deploy.agent import durable
from deploy.agent.errors import AgentError
from deploy.agent.layout import Layout

FIRST = "0" * 64
"""What stands for the line before the first."""
LINE_MAX = 64 * 1024


def append(layout: Layout, event: str, **fields: Any) -> str:
    """Add a line; its hash. The caller holds the lock.

    Raises: AgentError.
    """
    good, last, count = _scan(layout)
    line = {"n": count + 1, "time": round(time.time(), 3), "event": event, "before": last, **fields}
    data = json.dumps(line, sort_keys=True, separators=(",", ":")).encode()
    path = layout.audit_log
    with durable.storage(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(handle, good)  # what a crash tore off
            os.pwrite(handle, data + b"\n", good)
            os.fsync(handle)
        finally:
            os.close(handle)
    return hashlib.sha256(data).hexdigest()


def verify(layout: Layout) -> dict[str, Any]:
    """{"lines", "hash"}: how many lines there are, and the hash of the last one.

    Raises: AgentError that names the first line which does not follow the one before it.
    """
    _, last, count = _scan(layout)
    return {"lines": count, "hash": last}


def last_line(layout: Layout) -> dict[str, Any] | None:
    """The newest line with its own hash; None where there is none."""
    found: dict[str, Any] | None = None
    with durable.storage(layout.audit_log):
        if not layout.audit_log.exists():
            return None
        with layout.audit_log.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - LINE_MAX))
            lines = stream.read().split(b"\n")
    for line in reversed(lines):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            return {**found, "hash": hashlib.sha256(line).hexdigest()}
    return None


def _scan(layout: Layout) -> tuple[int, str, int]:
    """How many bytes are good, the hash of the last line, how many lines there are."""
    good, last, count = 0, FIRST, 0
    path = layout.audit_log
    if not path.exists():
        return good, last, count
    with durable.storage(path), path.open("rb") as stream:
        while line := stream.readline(LINE_MAX):
            if not line.endswith(b"\n"):
                break  # torn by a crash: it was never answered for
            if not _follows(line, last, count):
                raise AgentError(
                    f"{path}:{count + 1} was changed: it does not follow the line before it", "", 11
                )
            good, last, count = good + len(line), hashlib.sha256(line[:-1]).hexdigest(), count + 1
    return good, last, count


def _follows(line: bytes, last: str, count: int) -> bool:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("before") == last and found.get("n") == count + 1
