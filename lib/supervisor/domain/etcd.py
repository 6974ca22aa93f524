"""etcd: its leader, its members and its alarms over the JSON gateway of API v3 (etcd.io/docs/v3.4/dev-guide).

Ready when there is a leader and no alarm: with NOSPACE it refuses writes, with CORRUPT it may lie.
"""

from __future__ import annotations

import json
from typing import Any

from lib.supervisor.domain import amount
from lib.supervisor.domain.http import request
from lib.supervisor.probes import ProbeError


async def ask(target: str) -> str:
    """Who leads, and how large it is: `leader of 3 members, 20.5 kB`; `target` is `http://host:port`.

    Raises: ProbeError, OSError, ValueError, EOFError.
    """
    status = await _call(target, "maintenance/status", {})
    me, leader = status.get("header", {}).get("member_id", ""), status.get("leader", "0")
    members = (await _call(target, "cluster/member/list", {})).get("members", [])
    if leader in ("", "0"):
        raise ProbeError(f"etcd has no leader: of its {len(members)} members too few are there")
    alarms = (await _call(target, "maintenance/alarm", {"action": "GET"})).get("alarms", [])
    if alarms:
        names = sorted({str(alarm.get("alarm", "?"))[:20] for alarm in alarms})
        raise ProbeError(f"etcd has the alarm {', '.join(names)}")
    name = next((str(member.get("name"))[:64] for member in members if member.get("ID") == leader), leader)
    role = "leader" if leader == me else f"follower of {name},"
    count = f"{len(members)} member{'' if len(members) == 1 else 's'}"
    return f"{role} of {count}, {amount(int(status.get('dbSize', '0')))}"


async def _call(target: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
    status, answer = await request(target, f"/v3/{what}", json.dumps(body).encode())
    if status != 200:
        raise ProbeError(f"etcd answered {status} to {what}")
    found = json.loads(answer)
    if not isinstance(found, dict):
        raise ProbeError(f"etcd's answer to {what} is no object")
    return found
