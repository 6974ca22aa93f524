"""What a way to have a port mapped must be able to do; PCP, NAT-PMP and UPnP each are one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lib.nat.gateway import Gateway


@dataclass(frozen=True)
class Wish:
    """A TCP mapping to ask for; `lease` is in seconds. `was_ours` where one of ours may be there already."""

    internal_port: int
    external_port: int
    lease: int
    was_ours: bool = False


@dataclass(frozen=True)
class Grant:
    """A mapping as the gateway has made it; `lease` is 0 for one without an end.

    `ours` is false where somebody else, as the router's owner, had the gateway lead here before we asked:
    that one is used and neither renewed nor removed.
    """

    internal_port: int
    external_address: str
    external_port: int
    lease: int
    ours: bool = True


class Method(Protocol):
    """One way to one gateway. Every call may block for seconds, and raises GatewayError when it fails."""

    gateway: Gateway

    @property
    def name(self) -> str:
        """PCP, NAT-PMP or UPnP."""

    def find(self) -> str:
        """See whether the gateway offers it: its external address, empty where only a mapping tells that."""

    def external_address(self) -> str:
        """Its external address, now."""

    def map(self, wish: Wish) -> Grant:
        """Make the mapping, or make it last longer. Raises: ConflictError where that port is another's."""

    def is_intact(self, grant: Grant) -> bool:
        """Whether the gateway can still have the mapping and its address; false after its restart."""

    def unmap(self, grant: Grant) -> None:
        """Remove the mapping, when it is still ours."""
