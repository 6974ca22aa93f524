"""Mappings by NAT-PMP."""

from __future__ import annotations

from dataclasses import dataclass, field

from lib.nat import natpmp
from lib.nat.epoch import Epoch
from lib.nat.errors import GatewayError
from lib.nat.exchange import exchange
from lib.nat.gateway import Gateway
from lib.nat.method import Grant, Wish
from lib.nat.ports import check

LONGEST_LEASE = 86400
"""A longer lease is taken for one of a day."""


@dataclass
class NatPmpClient:
    """NAT-PMP with one gateway, which is an IPv4 one."""

    gateway: Gateway
    name: str = "NAT-PMP"
    epoch: Epoch = field(default_factory=Epoch)

    def find(self) -> str:
        """As Method's."""
        return self.external_address()

    def external_address(self) -> str:
        """As Method's."""
        return self._outside()[0]

    def map(self, wish: Wish) -> Grant:
        """As Method's: the gateway gives another external port itself where the wanted one is taken.

        A mapping of the same internal port of this machine is the one that it already had.
        """
        address, _ = self._outside()
        answer = self._ask(wish.internal_port, check(wish.external_port), wish.lease)
        if answer.lifetime == 0:
            raise GatewayError("it mapped the port for no time at all")
        lease = min(answer.lifetime, LONGEST_LEASE)
        return Grant(wish.internal_port, address, check(answer.external_port), lease)

    def is_intact(self, grant: Grant) -> bool:
        """As Method's."""
        address, goes_on = self._outside()
        return goes_on and address == grant.external_address

    def unmap(self, grant: Grant) -> None:
        """As Method's; another machine's mapping cannot be named."""
        self._ask(grant.internal_port, 0, 0)

    def _outside(self) -> tuple[str, bool]:
        answer = exchange(self.gateway, natpmp.address_request(), natpmp.read_address)
        return answer.address, self.epoch.see(answer.epoch)

    def _ask(self, port: int, suggested: int, lifetime: int) -> natpmp.Mapped:
        request = natpmp.map_request(check(port), suggested, lifetime)
        answer = exchange(self.gateway, request, lambda data: natpmp.read_map(data, port))
        self.epoch.see(answer.epoch)
        return answer
