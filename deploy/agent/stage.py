"""A signed release is accepted, what is missing is taken, and this host vouches for the whole of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from deploy.agent import blobs, command, durable, facts, hooks, live, promise
from deploy.agent.errors import AgentError
from deploy.agent.instance import InstanceControl
from deploy.agent.journal import Entry, Journal
from deploy.agent.layout import RELEASE, Layout
from deploy.agent.manifest import Manifest, verify

REFUSED, MISSING = 11, 5
CHECK_TIME = 60.0
LARGEST_SECRET = 1 << 20


def accept(layout: Layout, text: str, signature: str, epoch: int) -> list[str]:
    """Accept a signed manifest; the blobs that this host needs for it.

    A deploy that is under way here, and is older, is superseded; the same one, further on, stays as it is.

    Raises: AgentError.
    """
    raw = text.encode()
    verify(raw, signature, layout.allowed_signers)
    manifest = Manifest.parse(raw)
    host = facts.host(layout)
    _check_subject(manifest.instance, manifest.environment, layout)
    if host["name"] not in manifest.hosts:
        raise AgentError(f"the release is not for {host['name']}", "add it to deployment.yaml", REFUSED)
    journal = Journal(layout.journal)
    last = journal.last()
    kept = durable.read_json(layout.sequence) or {}
    known, release = int(kept.get("sequence", 0)), kept.get("release", "")
    if manifest.sequence < known or (manifest.sequence == known and manifest.release != release):
        raise AgentError(
            f"{manifest.release} has the number {manifest.sequence}, and this host has seen {known}",
            "an old release comes back only as a new one: ampzero rollback", REFUSED,
        )  # fmt: skip
    is_same = last is not None and (last.sequence, last.release) == (manifest.sequence, manifest.release)
    if not is_same and manifest.expires < datetime.now(UTC):
        raise AgentError(
            f"the manifest expired at {manifest.expires:%Y-%m-%d %H:%M} UTC, and it is "
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} here", "deploy again, or set this host's clock", REFUSED,
        )  # fmt: skip
    platform = facts.platform()
    if platform not in manifest.trees:
        raise AgentError(f"the release has no trees for {platform}", "deploy again", MISSING)
    if is_same and last and last.at_least("COMMITTED"):
        # What this host vouched for stays: a coordinator on another machine names the secrets otherwise.
        return []
    keep_manifest(layout, manifest.release, raw, signature)
    if manifest.sequence > known:
        kept = {"sequence": manifest.sequence, "release": manifest.release}
        durable.write_json(layout.sequence, kept)
    needed = blobs.needed(layout, manifest, platform)
    journal.begin(epoch, manifest.sequence, manifest.release)
    return needed


def _check_subject(instance: str, environment: str, layout: Layout) -> None:
    host = facts.host(layout)
    if (instance, environment) != (host["instance"], host["environment"]):
        raise AgentError(
            f"this is about {instance} ({environment}), and this host belongs to {host['instance']} "
            f"({host['environment']})", "", REFUSED,
        )  # fmt: skip


def keep_manifest(layout: Layout, release: str, raw: bytes, signature: str) -> None:
    """Keep a signed manifest, its signature first.

    Raises: AgentError.
    """
    durable.make_folder(layout.manifests)
    durable.write(layout.manifest(release).with_suffix(".sig"), signature.encode())
    durable.write(layout.manifest(release), raw)


def kept_manifest(layout: Layout, release: str) -> tuple[str, str]:
    """A kept manifest and its signature.

    Raises: AgentError where the release is not known here.
    """
    path = layout.manifest(release)
    raw = durable.read(path) if RELEASE.match(release) else None
    if raw is None:
        raise AgentError(f"this host does not know the release {release[:40]!r}", "", MISSING)
    return raw.decode(), (durable.read(path.with_suffix(".sig")) or b"").decode()


def manifest_of(layout: Layout, entry: Entry) -> Manifest:
    """The manifest of the deploy that is under way; it was verified when it came.

    Raises: AgentError.
    """
    return Manifest.parse(kept_manifest(layout, entry.release)[0].encode())


def staged(layout: Layout) -> tuple[Entry, Manifest]:
    """The deploy that is under way.

    Raises: AgentError where none is.
    """
    last = Journal(layout.journal).last()
    if last is None or last.state == "ABORTED":
        raise AgentError("nothing is staged here", "deploy again")
    return last, manifest_of(layout, last)


def take_secret(layout: Layout, path: str, content: bytes) -> None:
    """Write a secret to its own folder, which is not live yet.

    Raises: AgentError.
    """
    entry, manifest = staged(layout)
    if path not in manifest.secrets.files or not manifest.secrets.name:
        raise AgentError(f"the secret {path[:80]!r} is not in the manifest", "", REFUSED)
    if len(content) > LARGEST_SECRET:
        raise AgentError(f"the secret {path!r} is larger than 1 MiB", "put large files elsewhere")
    folder = layout.tree(manifest.secrets.name)
    place = folder / path
    if entry.at_least("PREPARED"):
        return
    durable.make_folder(folder)
    for parent in reversed(Path(path).parents[:-1]):
        durable.make_folder(folder / parent)
    durable.write(place, content)


def run_hook(layout: Layout, which: str, argv: list[str] | None, role: str, said: command.Said) -> int:
    """Run a hook of the staged release in its new tree; its exit code, 0 where there is none.

    Raises: AgentError.
    """
    if which != "pre_update":
        raise AgentError(f"there is no hook {which[:40]!r} on a host", "", 2)
    entry, manifest = staged(layout)
    if entry.at_least("PREPARED"):
        return 0  # it has run: a resume goes on from there
    words = list(manifest.pre_update) if argv is None else argv
    if not words:
        return 0
    wanted = live.of_manifest(manifest, manifest.sequence, facts.platform())
    return hooks.run(
        words, layout.tree(wanted.instance), manifest, facts.host(layout)["name"], role, said,
        manifest.policy.hook_deadline,
    )  # fmt: skip


def prepare(layout: Layout, control: InstanceControl, epoch: int) -> None:
    """Vouch that this host can finish from what it has: trees, secrets, configuration.

    Raises: AgentError that says what is missing.
    """
    promise.require(layout, epoch)
    entry, manifest = staged(layout)
    if entry.at_least("PREPARED"):
        return
    wanted = live.of_manifest(manifest, entry.sequence, facts.platform())
    for tree in manifest.trees[facts.platform()].values():
        if not blobs.is_whole(layout, manifest, tree):
            raise AgentError(f"{tree.name} is not here, or was changed", "deploy again", MISSING)
    for path in manifest.secrets.files:
        if not (layout.tree(manifest.secrets.name) / path).is_file():
            raise AgentError(f"the secret {path} has not arrived", "deploy again", MISSING)
    control.check(layout.tree(wanted.ampify), layout.tree(wanted.instance), wanted.release, CHECK_TIME)
    Journal(layout.journal).step("PREPARED", epoch=epoch)
