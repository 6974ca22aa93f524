"""Mappings by PCP."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from lib.nat import pcp
from lib.nat.epoch import Epoch
from lib.nat.errors import GatewayError
from lib.nat.exchange import exchange
from lib.nat.gateway import Gateway
from lib.nat.method import Grant, Wish
from lib.nat.ports import check

DISCARD = 9
"""The port of a mapping that is made only to learn the external address (RFC 6887, section 11.6)."""
SHORT = 30
"""Seconds of such a mapping; it is removed at once."""
LONGEST_LEASE = 86400
"""A longer lease is taken for one of a day (RFC 6887, section 15)."""


@dataclass
class PcpClient:
    """PCP with one gateway. Who has the nonce of a mapping may change it, and nobody else: it is a secret."""

    gateway: Gateway
    nonce: bytes
    name: str = "PCP"
    epoch: Epoch = field(default_factory=Epoch)

    def find(self) -> str:
        """As Method's: PCP tells the address only with a mapping."""
        self._see(exchange(self.gateway, pcp.announce(self.gateway.source), pcp.read_announce))
        return ""

    def external_address(self) -> str:
        """As Method's, by a mapping of the discard port for UDP, which leads nowhere."""
        nonce = os.urandom(pcp.NONCE_BYTES)
        address = self._ask(nonce, DISCARD, 0, SHORT, pcp.UDP).external_address
        self._ask(nonce, DISCARD, 0, 0, pcp.UDP)
        return address

    def map(self, wish: Wish) -> Grant:
        """As Method's: the gateway gives another external port itself where the wanted one is taken."""
        answer = self._ask(self.nonce, wish.internal_port, wish.external_port, wish.lease)
        if answer.lifetime == 0:
            raise GatewayError("it mapped the port for no time at all")
        lease = min(answer.lifetime, LONGEST_LEASE)
        return Grant(wish.internal_port, answer.external_address, check(answer.external_port), lease)

    def is_intact(self, grant: Grant) -> bool:
        """As Method's. The epoch starts again when mappings are lost, and when the address changes."""
        answer = exchange(self.gateway, pcp.announce(self.gateway.source), pcp.read_announce)
        return self._see(answer)

    def unmap(self, grant: Grant) -> None:
        """As Method's; another's mapping has another nonce, and the gateway refuses."""
        self._ask(self.nonce, grant.internal_port, 0, 0)

    def _ask(
        self, nonce: bytes, port: int, suggested: int, lifetime: int, protocol: int = pcp.TCP
    ) -> pcp.Answer:
        request = pcp.map_request(self.gateway.source, nonce, check(port), suggested, lifetime, protocol)
        answer = exchange(self.gateway, request, lambda data: pcp.read_map(data, nonce, port, protocol))
        self._see(answer)
        return answer

    def _see(self, answer: pcp.Answer) -> bool:
        return self.epoch.see(answer.epoch)
