"""Who offers to map ports: all ways to all gateways, asked in parallel. Nothing is mapped."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lib.nat.address import judge
from lib.nat.errors import GatewayError
from lib.nat.gateway import Gateway
from lib.nat.method import Method
from lib.nat.natpmpclient import NatPmpClient
from lib.nat.pcpclient import PcpClient
from lib.nat.upnpclient import UpnpClient
from lib.nat.worker import Worker

DEADLINE = 15.0
"""Seconds for all answers: UPnP searches for one and may then wait for a slow device."""


@dataclass(frozen=True)
class Offer:
    """What one way answered: an external address (empty where only a mapping tells), and what is wrong."""

    method: Method
    address: str = ""
    problem: str = ""
    answered: bool = True

    @property
    def is_good(self) -> bool:
        """Whether a mapping made this way can be reached, as far as can be told before."""
        return self.answered and not self.problem


def methods(gateways: Sequence[Gateway], owner: str, nonce: bytes, worker: Worker) -> list[Method]:
    """All ways to these gateways, the best first. IPv6 has PCP alone."""
    found: list[Method] = []
    for gateway in gateways:
        found.append(PcpClient(gateway, nonce))
        if not gateway.is_ipv6:
            found += [NatPmpClient(gateway), UpnpClient(gateway, owner, worker)]
    return found


def discover(ways: Sequence[Method], seconds: float = DEADLINE) -> list[Offer]:
    """What each of `ways` answers, in their order, within `seconds`.

    PCP tells no address without a mapping; it has that which another way names for the same gateway.
    """
    offers: dict[int, Offer] = {}

    def ask(number: int, way: Method) -> None:
        offers[number] = _ask(way)

    threads = [
        threading.Thread(target=ask, args=(number, way), name="nat", daemon=True)
        for number, way in enumerate(ways)
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    late = f"no answer in {seconds:.0f} s"
    found = [
        offers.get(number) or Offer(way, problem=late, answered=False) for number, way in enumerate(ways)
    ]
    return [_completed(offer, found) for offer in found]


def in_order(offers: Sequence[Offer], preferred: str = "") -> list[Offer]:
    """The offers to try: the good ones, that of the method `preferred` first; else one that answered."""
    good = [offer for offer in offers if offer.is_good]
    good.sort(key=lambda offer: offer.method.name != preferred)
    return good or [offer for offer in offers if offer.answered][:1]


def silence(offers: Sequence[Offer]) -> str:
    """Why nothing can be mapped where nobody has answered."""
    said = dict.fromkeys(f"{offer.method.name}: {offer.problem}" for offer in offers)
    return f"no gateway here maps ports ({'; '.join(said)})"


def _ask(way: Method) -> Offer:
    try:
        address = way.find()
        return Offer(way, address, judge(address) if address else "")
    except GatewayError as error:
        return Offer(way, problem=error.message, answered=False)


def _completed(offer: Offer, others: Sequence[Offer]) -> Offer:
    if not offer.answered or offer.address:
        return offer
    for other in others:
        if other.address and other.method.gateway == offer.method.gateway:
            return replace(offer, address=other.address, problem=other.problem)
    return offer
