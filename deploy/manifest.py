"""The manifest of a release and the decision about it, as the coordinator writes and signs them.

Format: canonical JSON (sorted keys, no spaces), as deploy/agent/manifest.py reads it; the signature beside it
is an SSHSIG of the user's key, so that a host needs only ssh-keygen to check it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from deploy.blobs import Blob
from deploy.environment import Environment
from deploy.plan import Trees
from lib.duration import seconds

NAMESPACE = "ampzero-release"
MANIFEST, DECISION = "ampzero/release/v1", "ampzero/decision/v1"
Sign = Callable[[bytes], str]
"""Gives the armored SSHSIG (namespace `ampzero-release`) of some bytes."""


@dataclass(frozen=True)
class Signed:
    """Exact bytes and their signature."""

    text: str
    signature: str


@dataclass(frozen=True)
class Subject:
    """What manifest and decision are about."""

    instance: str
    environment: str
    release: str
    sequence: int


def manifest(
    subject: Subject, environment: Environment, *, commit: str, trees: Mapping[str, Trees],
    blobs: Iterable[Blob], secrets: str, sign: Sign, compatible: bool, now: datetime | None = None,
) -> Signed:  # fmt: skip
    """The signed manifest. `trees` by platform; `secrets` names the folder of the secrets, or is empty;
    `compatible`: it may serve beside what is served now.
    """
    now = now or datetime.now(UTC)
    policy = environment.policy
    hook = environment.hooks
    return _signed({
        "format": MANIFEST, "instance": subject.instance, "environment": subject.environment,
        "release": subject.release, "sequence": subject.sequence, "commit": commit,
        "compatible": compatible,
        "hosts": [host.name for host in environment.hosts],
        "trees": {platform: {kind: {"name": tree.name, "sha256": tree.sha256, "size": tree.size,
                                    "digest": tree.digest} for kind, tree in found.items()}
                  for platform, found in trees.items()},
        "blobs": {blob.sha256: blob.described() for blob in blobs},
        "secrets": {"name": secrets, "files": sorted(environment.secrets) if secrets else []},
        "policy": {
            "min_ready": environment.min_ready / max(1, len(environment.hosts)),
            "on_orphan": policy.on_orphan, "orphan_after": seconds(policy.orphan_after),
            "health_deadline": seconds(policy.health_deadline), "drain": seconds(policy.drain),
            "hook_deadline": seconds(hook.timeout),
        },
        "hooks": {"pre_update": hook.pre_update or ""},
        "issued": _time(now), "expires": _time(now + timedelta(seconds=seconds(environment.release.expires))),
    }, sign)  # fmt: skip


def decision(subject: Subject, epoch: int, what: str, hosts: Iterable[str], sign: Sign,
             now: datetime | None = None) -> Signed:  # fmt: skip
    """The signed decision `what` (commit or abort) of an epoch about the `hosts` of its wave."""
    return _signed({
        "format": DECISION, "instance": subject.instance, "environment": subject.environment,
        "release": subject.release, "sequence": subject.sequence, "epoch": epoch, "decision": what,
        "hosts": list(hosts), "issued": _time(now or datetime.now(UTC)),
    }, sign)  # fmt: skip


def _signed(content: dict[str, Any], sign: Sign) -> Signed:
    raw = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return Signed(raw.decode(), sign(raw))


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
