"""The epoch that this host has promised: no coordinator with a lower one is heard any more."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.agent import durable
from deploy.agent.errors import AgentError
from deploy.agent.layout import Layout

REFUSED = 11
"""Exit code of lib/errors.py's RefusedError."""


@dataclass(frozen=True)
class Promise:
    """An epoch, and the random name of the coordinator to whom it was promised."""

    epoch: int
    coordinator: str


def promised(layout: Layout) -> Promise:
    """What was promised last; epoch 0 where nothing was.

    Raises: AgentError.
    """
    kept = durable.read_json(layout.promise) or {}
    return Promise(int(kept.get("epoch", 0)), str(kept.get("coordinator", "")))


def promise(layout: Layout, epoch: int, coordinator: str) -> None:
    """Promise `epoch` to `coordinator`; on the disk before this returns. The caller holds the lock.

    Raises: AgentError where a higher one, or the same to another, was promised.
    """
    kept = promised(layout)
    if epoch == kept.epoch and coordinator == kept.coordinator:
        return
    if epoch <= kept.epoch:
        raise AgentError(
            f"epoch {epoch} is refused: {kept.epoch} is promised to another coordinator",
            "another deploy runs, or ran since; ampzero deploy --resume goes on with it", REFUSED,
        )  # fmt: skip
    durable.write_json(layout.promise, {"epoch": epoch, "coordinator": coordinator})


def require(layout: Layout, epoch: int) -> None:
    """Refuse what is not of the promised epoch.

    Raises: AgentError.
    """
    kept = promised(layout)
    if epoch != kept.epoch:
        raise AgentError(
            f"epoch {epoch} is refused: {kept.epoch} is promised",
            "another coordinator has taken over",
            REFUSED,
        )
