"""`deploy --setup`: what a host needs once, done by its agent as root (deploy/agent/setup.py)."""

from __future__ import annotations

from collections.abc import Iterable

from deploy import keyspace
from deploy.environment import Environment
from deploy.fleet import Fleet, Member
from deploy.progress import Progress
from lib.errors import UsageError
from lib.instance import Instance

SETUP_TIME = 600.0
"""Seconds: a package manager may have much to fetch."""


def set_up(fleet: Fleet, instance: Instance, environment: Environment, signer: str, names: Iterable[str],
           progress: Progress, ssh_ca: str = "") -> dict[str, list[str]]:  # fmt: skip
    """Set up the hosts `names` (default all); what was done on each, in words.

    Their sshd lets in whom the key `ssh_ca` certifies, where one is given.

    Raises: UsageError for a host that the environment does not have.
    """
    wanted = set(names)
    if unknown := wanted - {member.name for member in fleet.members}:
        raise UsageError(f"no host {min(unknown)!r} in {environment.name}")
    progress.step("setting up")

    def work(member: Member) -> list[str]:
        progress.host(member.name, "setting up")
        answer = member.call(
            "setup", timeout=SETUP_TIME, instance=instance.name, environment=environment.name,
            name=member.name, allowed_signers=signer, install=True,
            ssh_ca=ssh_ca,
            programs=[keyspace.PROGRAM] if member.name in keyspace.names(environment.keyspace) else [],
            heard=lambda event: progress.output(member.name, str(event.get("line", ""))),
        )  # fmt: skip
        return [str(text) for text in answer.get("did", [])]

    return fleet.each(fleet.connect(wanted), work)
