"""Keeps one port of this machine mapped at the gateway, for as long as it is told to.

Owns when something is asked for, given up and tried again. The ways are Method's; who is told, the caller's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.errors import StorageError
from lib.nat.address import is_public, judge
from lib.nat.discovery import Offer, discover, in_order, methods, silence
from lib.nat.epoch import Clock, boot_time
from lib.nat.errors import ConflictError, GatewayError
from lib.nat.gateway import Gateway, gateways
from lib.nat.mapping import Mapping
from lib.nat.memory import MemoryFile
from lib.nat.method import Grant, Method, Wish
from lib.nat.ports import candidates
from lib.nat.worker import Worker

FAILURES = 3
"""How often in a row the gateway may fail before everything is looked for again."""
NEVER = float("inf")


@dataclass(frozen=True)
class Pace:
    """The keeper's times, in seconds.

    A mapping is asked for `lease` and renewed at the half of what it got. Every `check` the gateway is asked
    whether it still knows it, after a failure again after `retry`. While nothing can be mapped, the next look
    is after `retry`, and then each time twice as late, up to `longest`.
    """

    lease: int = 3600
    check: float = 60.0
    retry: float = 10.0
    longest: float = 300.0


@dataclass
class Held:
    """The mapping that there is, who made it and when it is due again. Neither is there where no NAT is."""

    method: Method | None = None
    grant: Grant | None = None
    renew_at: float = NEVER
    failures: int = 0


class Keeper:
    """Finds the gateway, has it map the port, and keeps that; `changed` is told every new Mapping.

    `run` blocks until `stop` is set, then removes the mapping. `gateway` is taken in place of the default
    routes. The port is never tried from here: what cannot be dialled from inside may well be from outside.
    A state file that cannot be written costs the memory of the mapping and not the mapping.
    """

    def __init__(
        self,
        internal_port: int,
        host_id: str,
        state_file: Path,
        *,
        gateway: Gateway | None = None,
        changed: Callable[[Mapping], None],
        pace: Pace | None = None,
        clock: Clock = boot_time,
    ) -> None:
        self.stop = threading.Event()
        self.mapping = Mapping(internal_port=internal_port)
        self._port, self._host = internal_port, host_id
        self._file = MemoryFile(state_file)
        self._given = [gateway] if gateway else None
        self._changed = changed
        self._pace = pace or Pace()
        self._clock = clock
        self._worker = Worker()
        self._lock = threading.RLock()  # `changed` may close us
        self._gateways: list[Gateway] = []
        self._held: Held | None = None
        self._vain = 0

    def run(self) -> None:
        """Keep the mapping until `stop` is set; then remove it. Raises: what `changed` raises."""
        try:
            while not self.stop.is_set():
                with self._lock:
                    wait = self._keep(self._held) if self._held else self._begin()
                self.stop.wait(wait)
        finally:
            self.close()

    def close(self) -> None:
        """Stop, and remove the mapping; harmless when there is none, and from any thread."""
        self.stop.set()
        with self._lock:
            held, self._held = self._held, None
            if held and held.method and held.grant and held.grant.ours:
                self._unmap(held.method, held.grant)

    # --- finding a way ------------------------------------------------------------------------------------

    def _begin(self) -> float:
        """Look for a way and have the port mapped; the seconds until the next look."""
        self._gateways = gateways() if self._given is None else self._given
        own = [gateway.source for gateway in self._gateways if is_public(gateway.source)]
        if own:
            self._held = Held()
            self._tell(Mapping("direct", own[0], self._port, self._port, 0, None, "no NAT: nothing to map"))
            return self._pace.check
        nonce = bytes.fromhex(self._file.memory.nonce)
        offers = discover(methods(self._gateways, self._host, nonce, self._worker))
        self._sweep(offers)
        self._tell(self._take(offers))
        if self._held is not None:
            self._vain = 0
            return self._next_look(self._held)
        self._vain += 1
        return float(min(self._pace.retry * 2 ** min(self._vain - 1, 16), self._pace.longest))

    def _take(self, offers: list[Offer]) -> Mapping:
        """Have the best of `offers` map the port, the next one where it cannot."""
        memory, problems, useless = self._file.memory, [], None
        for offer in in_order(offers, memory.method if memory.may_exist else ""):
            method, address = offer.method, offer.address
            try:
                address = address or method.external_address()
                problem = judge(address)
                if not problem:
                    grant = self._map(method)
                    if not (problem := judge(address := grant.external_address)):
                        return self._hold(method, grant)
                    self._unmap(method, grant)
                useless = useless or self._nothing(problem, method.name, address)
            except GatewayError as error:
                problems.append(f"{method.name}: {error.message}")
        if not self._gateways:
            problems = ["this machine has no default route"]
        return useless or self._nothing("; ".join(problems) or silence(offers))

    def _map(self, method: Method) -> Grant:
        """Ask for the remembered port, then for others where it is another's.

        Raises: GatewayError.
        """
        before = self._file.memory
        for port in candidates(self._host, before.external_port or self._port):
            known = before.may_exist and (method.name, port) == (before.method, before.external_port)
            # Written before it is asked for: who is killed in between must find it again.
            asked = {"method": method.name, "internal_port": self._port, "external_port": port}
            self._remember(**asked, may_exist=True)
            with suppress(ConflictError):
                return method.map(Wish(self._port, port, self._pace.lease, known))
            self._remember(external_port=before.external_port, may_exist=False)
            if self.stop.is_set():
                break
        raise GatewayError("every external port that was asked for is another's")

    def _sweep(self, offers: list[Offer]) -> None:
        """Remove what an earlier run has left: for another internal port, or where it has become useless."""
        memory = self._file.memory
        left = Grant(memory.internal_port, memory.external_address, memory.external_port, 0)
        for offer in offers:
            useless = memory.internal_port != self._port or not offer.is_good
            if memory.may_exist and offer.answered and offer.method.name == memory.method and useless:
                self._unmap(offer.method, left)

    # --- keeping it ---------------------------------------------------------------------------------------

    def _keep(self, held: Held) -> float:
        """See that the mapping is there, and renew it when it is due; the seconds until the next look."""
        method, grant = held.method, held.grant
        if self._given is None and gateways() != self._gateways:
            return self._start_again()
        if method is None or grant is None:
            return self._pace.check
        try:
            if self._clock() >= held.renew_at:
                grant = method.map(Wish(self._port, grant.external_port, self._pace.lease, was_ours=True))
                if judge(grant.external_address):
                    return self._start_again()
                self._tell(self._hold(method, grant))
            elif not method.is_intact(grant):
                return self._start_again()
            else:
                held.failures = 0
        except ConflictError:
            return self._start_again()
        except GatewayError:
            held.failures += 1
            return self._pace.retry if held.failures < FAILURES else self._start_again()
        return self._next_look(self._held or held)

    def _next_look(self, held: Held) -> float:
        return min(self._pace.check, max(0.0, held.renew_at - self._clock()))

    def _start_again(self) -> float:
        """Forget what we hold without a word to the gateway: it is another one, or knows it no more."""
        self._held = None
        return 0.0

    def _hold(self, method: Method, grant: Grant) -> Mapping:
        due = self._clock() + grant.lease / 2 if grant.lease and grant.ours else NEVER
        self._held = Held(method, grant, due)
        self._remember(
            method=method.name, internal_port=grant.internal_port, may_exist=grant.ours,
            external_port=grant.external_port, external_address=grant.external_address,
        )  # fmt: skip
        where = (grant.external_address, grant.external_port, grant.internal_port)
        return Mapping(method.name, *where, grant.lease, True)

    def _nothing(self, problem: str, method: str = "", address: str = "") -> Mapping:
        """No mapping: the gateway's address makes one useless, or else nobody knows what is outside."""
        return Mapping(method, address, 0, self._port, 0, False if address else None, problem)

    # --- ending it, remembering, telling ------------------------------------------------------------------

    def _unmap(self, method: Method, grant: Grant) -> None:
        """Remove a mapping; one that could not be removed stays remembered, and ends with its lease."""
        with suppress(GatewayError):
            method.unmap(grant)
            self._remember(may_exist=False)

    def _remember(self, **changes: Any) -> None:
        with suppress(StorageError):
            self._file.remember(**changes)

    def _tell(self, mapping: Mapping) -> None:
        if mapping != self.mapping:
            self.mapping = mapping
            self._changed(mapping)
