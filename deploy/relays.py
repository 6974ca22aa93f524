"""Who gets a blob from whom: the first few hosts from here, and each that has it serves four more.

So 8, 40, 200, 1,000 hosts have it after as many rounds, and this machine sends it eight times. Nothing is
fixed beforehand: a host that is ready takes whatever place is free, so that slow and lost ones delay nobody
else. Pure: holds no lock, sends nothing; deploy/phases/relay.py does what is decided here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

SEEDS = 8
"""Hosts that get a blob from this machine as long as nothing fails."""
CHILDREN = 4
"""Hosts that one host serves at once."""
PLACES = 16
"""Hosts that it serves altogether."""
SMALLEST = 1024 * 1024
"""Bytes of a blob from which on relays are worth their set-up."""
TRIES = 2
"""Relays that a host tries before it gets the blob from here."""
HOPELESS = 6
"""Failures without a single success after which hosts are taken to be out of each other's reach."""


@dataclass(frozen=True)
class Place:
    """A place for one child at a relay."""

    parent: str
    address: str
    port: int
    token: str


@dataclass(frozen=True)
class FromHere:
    """The coordinator sends it."""


class Fanout:
    """One blob's way to `hosts`, any of which may turn out not to need it."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self._open = set(hosts)
        """Those that may still come for it."""
        self._busy: set[str] = set()
        """Those that are getting it now, and may serve others soon."""
        self._places: list[Place] = []
        self._serving: Counter[str] = Counter()
        """How many each relay serves now."""
        self._tried: defaultdict[str, set[str]] = defaultdict(set)
        self._seeded = self._pulled = self._failed = 0

    def source(self, host: str) -> Place | FromHere | None:
        """Where `host` gets it from, now; None: it has to wait until something changes."""
        tried = self._tried[host]
        free = [place for place in self._places
                if place.parent not in tried and self._serving[place.parent] < CHILDREN]  # fmt: skip
        place = min(free, key=lambda place: self._serving[place.parent], default=None)
        if len(tried) >= TRIES or self._is_hopeless:
            chosen: Place | FromHere = FromHere()
        elif place is not None:
            self._places.remove(place)
            self._serving[place.parent] += 1
            chosen = place
        elif self._seeded < SEEDS or not self._busy:
            self._seeded += 1
            chosen = FromHere()
        else:
            return None
        self._open.discard(host)
        self._busy.add(host)
        return chosen

    def children(self) -> int:
        """How many places a host that has it now should offer; 0: no more are needed."""
        offered = Counter(place.parent for place in self._places)
        free = sum(min(CHILDREN - self._serving[parent], places) for parent, places in offered.items())
        return 0 if self._is_hopeless or free >= len(self._open) else min(PLACES, len(self._open))

    def pulled(self, place: Place) -> None:
        """It has come from there."""
        self._serving[place.parent] -= 1
        self._pulled += 1

    def has(self, host: str, places: Iterable[Place] = ()) -> None:
        """The host has it, and offers these places to others."""
        self._busy.discard(host)
        self._places += places

    def failed(self, host: str, place: Place, *, lied: bool) -> None:
        """The host did not get it there; after a lie nobody else is sent to that relay."""
        self._busy.discard(host)
        self._open.add(host)
        self._tried[host].add(place.parent)
        self._serving[place.parent] -= 1
        self._failed += 1
        if lied:
            self._places = [other for other in self._places if other.parent != place.parent]

    def has_tried(self, host: str) -> bool:
        """Whether it has got a part of the blob, perhaps, from a relay that failed."""
        return bool(self._tried[host])

    def leave(self, host: str) -> None:
        """The host does not need it, or is out."""
        self._busy.discard(host)
        self._open.discard(host)

    @property
    def _is_hopeless(self) -> bool:
        return not self._pulled and self._failed >= HOPELESS
