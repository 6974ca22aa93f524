"""What the contact process tells of itself: var/NAME/state/contact.json, which `status` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

FILE = "contact.json"
LARGEST = 64 * 1024


class HubReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """`state`: announced, failing (it will be tried again), alarm (somebody else changed our keys) or off.

    `why` is for a person; times as 2026-11-20T00:00:00Z. `reachable` is what dialling back showed.
    """

    state: str
    why: str
    id: str = ""
    hub: str = ""
    addresses: tuple[str, ...] = ()
    pin: str = ""
    observed: str = ""
    reachable: bool | None = None
    announced: str = ""
    expires: str = ""
    next: str = ""
    head: str = ""
    warnings: tuple[str, ...] = ()


class NatReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """`state`: mapped, direct (there is no NAT), none or off; `lease` in seconds."""

    state: str
    why: str
    method: str = ""
    external: str = ""
    lease: int = 0
    reachable: bool | None = None


class ContactReport(msgspec.Struct, frozen=True):
    """The file. `pid` is the process that wrote it, `seq` that of its last announcement."""

    pid: int
    hub: HubReport
    nat: NatReport
    seq: int = 0


def read(path: Path) -> ContactReport | None:
    """What the file says; None where there is none that can be read."""
    try:
        with path.open("rb") as stream:
            return msgspec.json.decode(stream.read(LARGEST), type=ContactReport)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def told(path: Path, pid: int | None) -> dict[str, Any]:
    """The `hub` and `nat` of a status, as the contact process `pid` tells them."""
    report = read(path)
    if report is None or report.pid != pid:
        waits = {"state": "starting" if pid else "off", "why": "the contact process says nothing yet"}
        if not pid:
            waits["why"] = "the contact process does not run"
        return {"hub": waits, "nat": dict(waits)}
    return {"hub": msgspec.to_builtins(report.hub), "nat": msgspec.to_builtins(report.nat)}
