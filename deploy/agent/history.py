"""The last deploys of this host's environment and what became of them, as coordinators told."""

from __future__ import annotations

import json
from typing import Any

from deploy.agent import durable
from deploy.agent.errors import AgentError
from deploy.agent.layout import Layout

KEPT = 100
LARGEST = 65536
USAGE = 2


def add(layout: Layout, entry: object) -> None:
    """Keep one more.

    Raises: AgentError.
    """
    if not isinstance(entry, dict) or len(json.dumps(entry)) > LARGEST:
        raise AgentError("the request's entry is none", "", USAGE)
    durable.write_json(layout.releases, {"deploys": [*deploys(layout), entry][-KEPT:]})


def deploys(layout: Layout) -> list[Any]:
    """What is kept, oldest first.

    Raises: AgentError.
    """
    found = (durable.read_json(layout.releases) or {}).get("deploys", [])
    return found if isinstance(found, list) else []
