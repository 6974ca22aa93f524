"""What is signed: the manifest of a release, and the decision about a deploy; checked by OpenSSH.

Format: canonical JSON (sorted keys, no spaces) as deploy/manifest.py writes it, and beside it an SSHSIG,
which ssh-keygen(1) -Y verify checks against the host's allowed signers. Parse only what was verified.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.agent.errors import AgentError
from deploy.agent.layout import RELEASE, SHA256, TREE_NAME

NAMESPACE = "ampzero-release"
MANIFEST, DECISION = "ampzero/release/v1", "ampzero/decision/v1"
LARGEST = 1024 * 1024
"""Bytes of a signed text: a manifest for a thousand hosts has some 60 KB."""
LARGEST_TREE = 64 * 1024**3
MANY = 10_000
VERIFY_TIME = 10.0
NAME = re.compile(r"^[A-Za-z0-9][\w.@:\[\]-]{0,254}\Z")
REFUSED = 11


@dataclass(frozen=True)
class Tree:
    """One tree: its folder's name, the SHA-256 and the size of its tar, and its digest once extracted."""

    name: str
    sha256: str
    size: int
    digest: str


@dataclass(frozen=True)
class Blob:
    """What may travel: a whole archive (`full`) of the tar `new`, or a `patch` that makes it of `old`."""

    kind: str
    new: str
    size: int
    old: str = ""


@dataclass(frozen=True)
class Secrets:
    """The folder of the secrets, empty where there are none, and their paths in the instance."""

    name: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """What hosts do on their own. All times in seconds."""

    on_orphan: str
    orphan_after: float
    health_deadline: float
    drain: float
    hook_deadline: float


@dataclass(frozen=True)
class Manifest:
    """A release as it was signed. `trees` by platform and kind, `blobs` by their SHA-256."""

    instance: str
    environment: str
    release: str
    sequence: int
    commit: str
    compatible: bool
    hosts: tuple[str, ...]
    trees: Mapping[str, Mapping[str, Tree]]
    blobs: Mapping[str, Blob]
    secrets: Secrets
    policy: Policy
    pre_update: tuple[str, ...]
    expires: datetime

    @classmethod
    def parse(cls, raw: bytes) -> Manifest:
        """The manifest in `raw`.

        Raises: AgentError.
        """
        said = _load(raw, MANIFEST)
        try:
            trees = {str(platform): {kind: _tree(kinds[kind], kind) for kind in ("ampify", "instance")}
                     for platform, kinds in _mapping(said["trees"]).items()}  # fmt: skip
            blobs = {_sha256(name): _blob(blob) for name, blob in _mapping(said["blobs"]).items()}
            policy = said["policy"]
            hook = said["hooks"].get("pre_update") or []
            secrets = said["secrets"]
            name = secrets["name"]
            if name and not (TREE_NAME.match(name) and name.startswith("secrets-")):
                raise ValueError("secrets")
            on_orphan = policy["on_orphan"]
            if on_orphan not in ("open-new", "stay-closed"):
                raise ValueError("on_orphan")
            return cls(
                instance=_name(said["instance"]), environment=_name(said["environment"]),
                release=_release(said["release"]), sequence=_count(said["sequence"]),
                commit=_text(said["commit"]), compatible=_flag(said["compatible"]),
                hosts=_names(said["hosts"]), trees=trees, blobs=blobs,
                secrets=Secrets(name, tuple(_path(path) for path in _list(secrets["files"]))),
                policy=Policy(on_orphan, *(_seconds(policy[key]) for key in (
                    "orphan_after", "health_deadline", "drain", "hook_deadline"))),
                pre_update=tuple(shlex.split(hook) if isinstance(hook, str) else map(_text, _list(hook))),
                expires=_moment(said["expires"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise AgentError(f"a bad manifest: {error!r}"[:300], "", REFUSED) from error


@dataclass(frozen=True)
class Decision:
    """What was decided about a release in an epoch, for the `hosts` that take part."""

    instance: str
    environment: str
    release: str
    sequence: int
    epoch: int
    commit: bool
    hosts: tuple[str, ...]

    @classmethod
    def parse(cls, raw: bytes) -> Decision:
        """The decision in `raw`.

        Raises: AgentError.
        """
        said = _load(raw, DECISION)
        try:
            if said["decision"] not in ("commit", "abort"):
                raise ValueError("decision")
            return cls(
                instance=_name(said["instance"]), environment=_name(said["environment"]),
                release=_release(said["release"]), sequence=_count(said["sequence"]),
                epoch=_count(said["epoch"]), commit=said["decision"] == "commit", hosts=_names(said["hosts"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AgentError(f"a bad decision: {error!r}"[:300], "", REFUSED) from error


def verify(raw: bytes, signature: str, allowed_signers: Path, namespace: str = NAMESPACE) -> None:
    """Have ssh-keygen check the signature of `raw` by anybody who may sign.

    Raises: AgentError.
    """
    if len(raw) > LARGEST or len(signature) > 16384:
        raise AgentError("what was signed is too large", "", REFUSED)
    if not allowed_signers.is_file():
        raise AgentError("this host does not know who may sign releases", "ampzero deploy --setup", REFUSED)
    handle, name = tempfile.mkstemp(prefix="signature.", dir=allowed_signers.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(signature.encode())
        found = _keygen("find-principals", name, allowed_signers, namespace, [], raw)
        names = found.stdout.decode(errors="replace").split()
        good = found.returncode == 0 and any(
            _keygen("verify", name, allowed_signers, namespace, ["-I", each], raw).returncode == 0
            for each in names[:8]
        )
    finally:
        Path(name).unlink(missing_ok=True)
    if not good:
        raise AgentError(
            "the signature is not by one who may sign releases for this host",
            "sign with the key that the host was set up with, or run ampzero deploy --setup again", REFUSED,
        )  # fmt: skip


def _keygen(what: str, signature: str, allowed: Path, namespace: str, more: list[str],
            raw: bytes) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    argv = ["ssh-keygen", "-Y", what, "-f", str(allowed), "-n", namespace, "-s", signature, *more]
    try:
        return subprocess.run(argv, input=raw, capture_output=True, timeout=VERIFY_TIME, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AgentError(f"cannot run ssh-keygen: {error}", "install openssh-client", 5) from error


def _load(raw: bytes, form: str) -> dict[str, Any]:
    """The object in `raw`, which must be of the format `form`, and written as we write it."""
    try:
        said = json.loads(raw) if len(raw) <= LARGEST else None
        same = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == raw
    except (ValueError, RecursionError):
        said, same = None, False
    if not isinstance(said, dict) or said.get("format") != form or not same:
        raise AgentError(f"this is no {form}", "", REFUSED)
    return said


def _tree(said: Mapping[str, Any], kind: str) -> Tree:
    name = said["name"]
    if not TREE_NAME.match(name) or not name.startswith(f"{kind}-"):
        raise ValueError(name)
    return Tree(name, _sha256(said["sha256"]), _count(said["size"], LARGEST_TREE), _sha256(said["digest"]))


def _blob(said: Mapping[str, Any]) -> Blob:
    kind = said["kind"]
    if kind not in ("full", "patch"):
        raise ValueError(kind)
    old = _sha256(said["old"]) if kind == "patch" else ""
    return Blob(kind, _sha256(said["new"]), _count(said["size"], LARGEST_TREE), old)


def _mapping(said: Any) -> dict[str, Any]:
    if not isinstance(said, dict) or len(said) > MANY:
        raise TypeError("a mapping")
    return said


def _list(said: Any) -> list[Any]:
    if not isinstance(said, list) or len(said) > MANY:
        raise TypeError("a list")
    return said


def _text(said: Any) -> str:
    if not isinstance(said, str) or len(said) > 4096 or "\0" in said:
        raise TypeError("text")
    return said


def _name(said: Any) -> str:
    if not NAME.match(said):
        raise ValueError("a name")
    return str(said)


def _names(said: Any) -> tuple[str, ...]:
    return tuple(_name(each) for each in _list(said))


def _release(said: Any) -> str:
    if not RELEASE.match(said):
        raise ValueError("release")
    return str(said)


def _sha256(said: Any) -> str:
    if not SHA256.match(said):
        raise ValueError("sha256")
    return str(said)


def _count(said: Any, most: int = 2**53) -> int:
    if type(said) is not int or not 0 <= said <= most:
        raise ValueError("a number")
    return said


def _flag(said: Any) -> bool:
    if type(said) is not bool:
        raise TypeError("compatible")
    return said


def _seconds(said: Any) -> float:
    if type(said) not in (int, float) or not 0 <= said <= 7 * 86400:
        raise ValueError("seconds")
    return float(said)


def _path(said: Any) -> str:
    parts = _text(said).split("/")
    if not all(parts) or "." in parts or ".." in parts:
        raise ValueError("a path")
    return str(said)


def _moment(said: Any) -> datetime:
    return datetime.strptime(said, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
