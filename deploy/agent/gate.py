"""Whether users are let in. What is wanted is on the disk first; nginx sees it as a file (decision 024).

Closed with a reason: by a step of a deploy, because a step failed, or at a boot that found a deploy which
is not decided.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace

from deploy.agent import durable
from deploy.agent.errors import AgentError
from deploy.agent.layout import Layout


@dataclass(frozen=True)
class Gate:
    """The gate as it is wanted. `boot`: closed by a boot alone. `stopped`: services to be started again.
    `ports`: where users come in, as the instance said when it was healthy.
    """

    closed: bool = False
    why: str = ""
    since: float = 0.0
    boot: bool = False
    stopped: list[str] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)


def read(layout: Layout) -> Gate:
    """How the gate is wanted to be.

    Raises: AgentError.
    """
    kept = durable.read_json(layout.gate)
    if kept is None:
        return Gate()
    try:
        return Gate(**kept)
    except TypeError as error:
        raise AgentError(
            f"{layout.gate} is damaged: {error}", "see docs/deploy.md", durable.STORAGE
        ) from error


def close(layout: Layout, instance: str, why: str, *, boot: bool = False) -> None:
    """Show the placeholder page instead of the application.

    Raises: AgentError.
    """
    kept = read(layout)
    since = kept.since if kept.closed else time.time()
    wanted = replace(kept, closed=True, why=why, since=since, boot=boot)
    if wanted != kept:
        durable.write_json(layout.gate, asdict(wanted))
    apply(layout, instance)


def will_stop(layout: Layout, services: list[str]) -> None:
    """Note services that are about to be stopped, beside those that were before.

    Raises: AgentError.
    """
    kept = read(layout)
    names = list(dict.fromkeys([*kept.stopped, *services]))
    durable.write_json(layout.gate, asdict(replace(kept, stopped=names)))


def note_ports(layout: Layout, ports: list[int]) -> None:
    """Note where users come in.

    Raises: AgentError.
    """
    kept = read(layout)
    if kept.ports != ports:
        durable.write_json(layout.gate, asdict(replace(kept, ports=ports)))


def open_(layout: Layout, instance: str) -> None:
    """Let users in.

    Raises: AgentError.
    """
    kept = read(layout)
    if kept.closed or not kept.since or kept.stopped:
        durable.write_json(layout.gate, asdict(Gate(since=time.time(), ports=kept.ports)))
    apply(layout, instance)


def apply(layout: Layout, instance: str) -> None:
    """Have the placeholder flag there, or not, as it is wanted.

    Raises: AgentError.
    """
    flag = layout.instance_var(instance) / "run" / "placeholder"
    with durable.storage(flag):
        if not read(layout).closed:
            flag.unlink(missing_ok=True)
            return
        durable.make_folder(flag.parent.parent, 0o755)
        durable.make_folder(flag.parent, 0o700)
        flag.touch(mode=0o600)
