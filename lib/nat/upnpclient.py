"""Mappings by UPnP, through miniupnpc. The only module that knows that library and its errors.

miniupnpc is not thread-safe, blocks, and raises bare `Exception`s with UPnP's words for an error code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from lib.errors import AmpzeroError
from lib.nat.errors import ConflictError, GatewayError
from lib.nat.gateway import Gateway
from lib.nat.method import Grant, Wish
from lib.nat.ports import check
from lib.nat.ssdp import search
from lib.nat.worker import Worker

Result = TypeVar("Result")

DEADLINE = 10.0
"""Seconds for one call: the library waits 3 for each part of an answer."""
LONGEST_NAME = 60
"""Characters of a mapping's description; some gateways cut longer ones."""

CONFLICT = ("ConflictInMappingEntry", "ConflictWithOtherMechanisms", "SamePortValuesRequired")
"""718, 729, and 724, which wants the internal port: a different external port may do."""
PERMANENT = ("OnlyPermanentLeasesSupported", "Invalid Args")
"""725; and 402, which older gateways say to any lease but 0."""


@dataclass(frozen=True)
class Entry:
    """A mapping as the gateway lists it."""

    address: str
    port: int
    description: str


@dataclass
class UpnpClient:
    """UPnP with one gateway; `owner` is the description of our mappings and tells them from others'."""

    gateway: Gateway
    owner: str
    worker: Worker = field(default_factory=Worker)
    name: str = "UPnP"
    _device: Any = None

    def find(self) -> str:
        """As Method's: searches the gateway by SSDP, unless its description is known."""
        self._call(self._search)
        return self.external_address()

    def external_address(self) -> str:
        """As Method's."""
        return str(self._call(self._selected().externalipaddress) or "0.0.0.0")  # noqa: S104 -- no listener

    def map(self, wish: Wish) -> Grant:
        """As Method's. What is mapped already is read first, and what was mapped is read back."""
        outer = check(wish.external_port)
        device = self._selected()
        before = self._entry(outer)
        if before is not None and not self._is_ours(before, wish):
            if (before.address, before.port) == (str(device.lanaddr), wish.internal_port):
                return Grant(wish.internal_port, self.external_address(), outer, 0, ours=False)
            raise ConflictError(f"the external port {outer} leads to {before.address}:{before.port}")
        if before is not None and before.port != wish.internal_port:
            self._call(lambda: device.deleteportmapping(outer, "TCP"))
        try:
            lease = self._add(outer, check(wish.internal_port), wish.lease)
        except GatewayError as error:
            if error.message not in PERMANENT:
                raise
            lease = self._add(outer, wish.internal_port, 0)
        after = self._entry(outer)
        if after is None:
            raise GatewayError(f"it says that it has mapped the external port {outer}, and has not")
        if (after.address, after.port) != (str(device.lanaddr), wish.internal_port):
            raise ConflictError(f"the external port {outer} leads to {after.address}:{after.port}")
        return Grant(wish.internal_port, self.external_address(), outer, lease)

    def is_intact(self, grant: Grant) -> bool:
        """As Method's."""
        if self.external_address() != grant.external_address:
            return False
        entry = self._entry(grant.external_port)
        wanted = (str(self._selected().lanaddr), grant.internal_port)
        return entry is not None and (entry.address, entry.port) == wanted

    def unmap(self, grant: Grant) -> None:
        """As Method's."""
        outer = check(grant.external_port)
        self.external_address()  # no entry and no answer look the same below, and are not
        entry = self._entry(outer)
        wish = Wish(grant.internal_port, outer, 0, was_ours=True)
        if entry is not None and self._is_ours(entry, wish):
            self._call(lambda: self._selected().deleteportmapping(outer, "TCP"))

    def _is_ours(self, entry: Entry, wish: Wish) -> bool:
        """Whether we made it, now or in an earlier run; some gateways forget the description."""
        if entry.address != str(self._selected().lanaddr):
            return False
        return entry.description == self._description() or (
            wish.was_ours and entry.port == wish.internal_port
        )

    def _description(self) -> str:
        return f"ampzero {self.owner}"[:LONGEST_NAME]

    def _add(self, outer: int, inner: int, lease: int) -> int:
        device, text = self._selected(), self._description()
        said = self._call(lambda: device.addportmapping(outer, "TCP", device.lanaddr, inner, text, "", lease))
        if not said:
            raise GatewayError(f"it did not map the external port {outer}")
        return lease

    def _entry(self, outer: int) -> Entry | None:
        device = self._selected()
        found = self._call(lambda: device.getspecificportmapping(outer, "TCP"))
        return None if found is None else Entry(str(found[0]), int(found[1]), str(found[2]))

    def _selected(self) -> Any:
        if self._device is None:
            raise GatewayError("no UPnP gateway was found yet")
        return self._device

    def _search(self) -> None:
        """Find the gateway itself: another machine of the network that says it were one is not believed."""
        try:
            import miniupnpc
        except ImportError as error:
            raise GatewayError("not tried: it needs the library miniupnpc (ampzero[nat])") from error
        gateway = self.gateway
        device = miniupnpc.UPnP()
        control = device.selectigd(gateway.description or search(gateway))
        host = urlsplit(str(control)).hostname
        if host != gateway.address:
            raise GatewayError(f"{host} says that it is a gateway, and {gateway.address} is the one")
        self._device = device

    def _call(self, function: Callable[[], Result]) -> Result:
        """Raises: ConflictError; GatewayError with UPnP's own words as the whole message."""
        try:
            return self.worker.call(function, DEADLINE)
        except AmpzeroError:
            raise
        except Exception as error:  # miniupnpc has no class of its own
            words = " ".join(str(error).split())[:200]
            kind = ConflictError if words in CONFLICT else GatewayError
            raise kind(words or type(error).__name__) from error
