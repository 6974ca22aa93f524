"""STAGE: what a host lacks is sent, checked and unpacked aside; users see nothing, and giving up is free."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.blobs import Blob
from deploy.fleet import Fleet, Heard, Member
from deploy.manifest import Signed
from deploy.phases.relay import Relays
from deploy.progress import Progress
from deploy.settings import Groups
from lib.errors import AmpzeroError, RefusedError
from lib.files import storage_errors

CHUNK = 1024 * 1024
"""Bytes of a frame's body."""
LARGEST_SECRET = 1024 * 1024


@dataclass(frozen=True)
class Stage:
    """What all hosts of a deploy are given. `deadline` in seconds for each step of a host."""

    manifest: Signed
    epoch: int
    blobs: Mapping[str, Blob]
    secrets: Mapping[str, Path]
    deadline: float
    hook_deadline: float
    progress: Progress
    settings: Mapping[str, Groups] | None = None
    """What hosts are told alone, by name; None: nobody is told anything."""

    def __call__(self, fleet: Fleet, members: list[Member]) -> list[Member]:
        """Stage on all `members` at once; those where it went well."""
        relays = Relays((member.name for member in members), self.blobs, send=self._send, epoch=self.epoch,
                        deadline=self.deadline, progress=self.progress)  # fmt: skip

        def stage(member: Member) -> None:
            try:
                self._host(member, relays)
            finally:
                relays.leave(member.name)

        done = fleet.each(members, stage)
        return [member for member in members if member.name in done]

    def _host(self, member: Member, relays: Relays) -> None:
        answer = member.call("stage", timeout=self.deadline, manifest=self.manifest.text,
                             signature=self.manifest.signature, epoch=self.epoch)  # fmt: skip
        need = answer.get("need", [])
        relays.leave(member.name, but=map(str, need))
        for sha256 in need:
            blob = self.blobs.get(str(sha256))
            if blob is None:
                raise RefusedError(
                    f"{member.name}: it asks for what is not in the manifest: {str(sha256)[:64]!r}"
                )
            relays.deliver(member, blob)
        for path, source in self.secrets.items():
            member.call("secrets", _secret(source), timeout=self.deadline, path=path, epoch=self.epoch)
        if self.settings is not None:
            told = json.dumps(self.settings.get(member.name, {})).encode()
            member.call("settings", told, timeout=self.deadline, epoch=self.epoch)
        self.progress.host(member.name, "unpacking")
        member.call("unpack", timeout=self.deadline, epoch=self.epoch)
        self._hook(member)
        self.progress.host(member.name, "staged")

    def bind(self, member: Member) -> None:
        """Have a host that is staged take part in this epoch.

        Raises: AmpzeroError where it lacks something.
        """
        answer = member.call("stage", timeout=self.deadline, manifest=self.manifest.text,
                             signature=self.manifest.signature, epoch=self.epoch)  # fmt: skip
        if answer.get("need"):
            raise AmpzeroError(f"{member.name}: what was staged is gone", "deploy again")

    def _send(self, member: Member, blob: Blob) -> None:
        with storage_errors(blob.path), blob.path.open("rb") as stream:
            offset = 0
            if blob.size > CHUNK:
                offset = _have(member, blob, 0, b"", self.deadline, self.epoch)
            while offset < blob.size:
                stream.seek(offset)
                sent = _have(member, blob, offset, stream.read(CHUNK), self.deadline, self.epoch)
                if sent <= offset:
                    raise AmpzeroError(f"{member.name}: it does not take what is sent")
                offset = sent
                self.progress.host(member.name, f"sending {100 * offset // blob.size} %")

    def _hook(self, member: Member) -> None:
        def heard(event: dict[str, object]) -> None:
            self.progress.output(member.name, str(event.get("line", "")))

        hook: Heard = heard
        own = member.host.pre_update
        answer = member.call(
            "hook", timeout=self.hook_deadline + 10, heard=hook, which="pre_update", epoch=self.epoch,
            argv=list(own) if own is not None else None, role=member.host.role,
        )  # fmt: skip
        code = answer.get("code", 0)
        if code:
            raise AmpzeroError(
                f"{member.name}: its pre_update ended with exit code {code}", "its output is above"
            )


def _have(member: Member, blob: Blob, offset: int, body: bytes, deadline: float, epoch: int) -> int:
    answer = member.call(
        "put", body, timeout=deadline, sha256=blob.sha256, offset=offset, size=blob.size, epoch=epoch
    )
    have = answer.get("have")
    if not isinstance(have, int) or not 0 <= have <= blob.size:
        raise RefusedError(f"{member.name}: its agent's answer makes no sense")
    return have


def _secret(path: Path) -> bytes:
    with storage_errors(path), path.open("rb") as stream:
        content = stream.read(LARGEST_SECRET + 1)
    if len(content) > LARGEST_SECRET:
        raise AmpzeroError(f"{path}: a secret of more than 1 MiB", "put large files elsewhere")
    return content
