"""nginx: that it serves, and how many connections it has (nginx.org, ngx_http_stub_status_module).

Ready when the path of the target answers 200 to 399; /status beside it is for the facts only.
"""

from __future__ import annotations

import re

from lib.supervisor.domain.http import request
from lib.supervisor.probes import ProbeError

STATUS = "/status"
ACTIVE = re.compile(rb"Active connections: (\d{1,9}) ")
WAITING = re.compile(rb"Reading: \d{1,9} Writing: (\d{1,9}) Waiting: (\d{1,9})")


async def ask(target: str) -> str:
    """Its connections, ours not counted: `3 connections, 2 idle`; empty when it has no status to show.

    Raises: ProbeError, OSError, ValueError, EOFError.
    """
    address, _, path = target.rpartition(":")
    status, _ = await request(address, path)
    if not 200 <= status < 400:
        raise ProbeError(f"nginx answered {status} to {path}")
    status, body = await request(address, STATUS)
    active, waiting = ACTIVE.search(body), WAITING.search(body)
    if status != 200 or active is None or waiting is None:
        return ""
    count = max(0, int(active[1]) - 1)
    idle = f", {int(waiting[2])} idle" if int(waiting[2]) else ""
    return f"{count} connection{'' if count == 1 else 's'}{idle}"
