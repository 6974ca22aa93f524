"""What a host says about itself: the answer to `hello`, typed and bounded."""

from __future__ import annotations

from typing import Literal

import msgspec

from lib.errors import RefusedError

State = Literal["open", "closed", "stopped", "none"]
"""open: it serves its release; closed: the placeholder; stopped: nothing runs; none: never deployed."""


class Live(msgspec.Struct, frozen=True):
    """A release as it is, or was, live on a host. `tars`: SHA-256 of the kept tar, by kind of tree."""

    release: str
    sequence: int
    ampify: str
    instance: str
    commit: str = ""
    secrets: str = ""
    tars: dict[str, str] = msgspec.field(default_factory=dict)


class Pending(msgspec.Struct, frozen=True):
    """A deploy that a host has begun and not ended."""

    state: str
    epoch: int
    sequence: int
    release: str
    decision: Literal["commit", "abort", ""] = ""
    hosts: list[str] = msgspec.field(default_factory=list)
    error: str = ""


class Facts(msgspec.Struct, frozen=True):
    """A host's facts. `clock` is its time in seconds since 1970, `disk_free` bytes below the root folder.

    `address` is the one at which it was reached, `settings` what deploys told this host alone, by group and
    file, `keyspace_data` whether a member of the keyspace has run there.
    """

    platform: str
    python: str
    user: str
    clock: float
    disk_free: int
    root_exists: bool = False
    ours: bool = False
    tools: dict[str, str] = msgspec.field(default_factory=dict)
    current: Live | None = None
    previous: Live | None = None
    promised: int = 0
    sequence: int = 0
    pending: Pending | None = None
    state: State = "none"
    since: str = ""
    trees: list[str] = msgspec.field(default_factory=list)
    tars: list[str] = msgspec.field(default_factory=list)
    zstd: bool = False
    instance: str = ""
    environment: str = ""
    name: str = ""
    address: str = ""
    settings: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    keyspace_data: bool = False


# msgspec works a type out when it is first used, and crashes where several threads do so at once: here, once.
_DECODER = msgspec.json.Decoder(Facts)


def facts(said: object, host: str) -> Facts:
    """The facts in a host's answer.

    Raises: RefusedError where the answer is not one.
    """
    try:
        return msgspec.convert(said, Facts)
    except msgspec.ValidationError as error:
        raise RefusedError(f"{host}: its agent's answer makes no sense: {error}") from error
