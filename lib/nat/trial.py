"""What the gateways here can do for us, asked once: for `ampzero nat test`. Nobody is dialled."""

from __future__ import annotations

import os
import secrets
from dataclasses import asdict, dataclass

from lib.nat.address import is_public, judge
from lib.nat.discovery import Offer, discover, in_order, methods, silence
from lib.nat.errors import GatewayError
from lib.nat.gateway import Gateway, gateways
from lib.nat.mapping import Mapping
from lib.nat.method import Grant, Method, Wish
from lib.nat.pcp import NONCE_BYTES
from lib.nat.ports import FIRST, LAST
from lib.nat.worker import Worker

LEASE = 120
"""Seconds of a mapping for a trial, which is removed at once; some gateways give none that is shorter."""


@dataclass(frozen=True)
class Answer:
    """What one way to one gateway answered; `problem` says why it is of no use."""

    gateway: str
    interface: str
    method: str
    answered: bool
    external_address: str
    problem: str


@dataclass(frozen=True)
class Trial:
    """The answers, and what follows from them.

    `mapping.external_port` is 0 unless one was mapped, which is removed again; `possible` is whether a port
    can be mapped (None: only a mapping will tell).
    """

    answers: tuple[Answer, ...]
    mapping: Mapping
    possible: bool | None


def look(*, mapped: bool) -> Trial:
    """Ask all gateways; with `mapped` have a random port mapped, on which nobody listens, and remove it."""
    found = gateways()
    own = [gateway.source for gateway in found if is_public(gateway.source)]
    if own:
        return Trial((), Mapping("direct", own[0], problem="no NAT: nothing to map"), True)
    if not found:
        return Trial((), Mapping(problem="this machine has no default route"), False)
    ways = methods(found, f"test-{secrets.token_hex(4)}", os.urandom(NONCE_BYTES), Worker())
    offers = discover(ways)
    answers = tuple(_answer(offer) for offer in offers)
    usable = in_order(offers)
    if not usable:
        return Trial(answers, Mapping(problem=silence(offers)), False)
    if usable[0].problem:
        first = usable[0]
        told = Mapping(first.method.name, first.address, reachable=False, problem=first.problem)
        return Trial(answers, told, False)
    if mapped:
        return _mapped(answers, usable)
    first = usable[0]
    return Trial(answers, Mapping(first.method.name, first.address), True if first.address else None)


def _mapped(answers: tuple[Answer, ...], usable: list[Offer]) -> Trial:
    port, problems = FIRST + secrets.randbelow(LAST - FIRST + 1), []
    for offer in usable:
        method = offer.method
        try:
            grant = _map_and_remove(method, port)
            problem = judge(grant.external_address)
        except GatewayError as error:
            problems.append(f"{method.name}: {error.message}")
            continue
        where = (grant.external_address, grant.external_port, port, grant.lease)
        return Trial(answers, Mapping(method.name, *where, not problem, problem), not problem)
    return Trial(answers, Mapping(problem="; ".join(problems)), False)


def _map_and_remove(method: Method, port: int) -> Grant:
    grant = method.map(Wish(port, port, LEASE))
    try:
        if not method.is_intact(grant):
            raise GatewayError(f"the mapping of the external port {grant.external_port} did not stay")
    finally:
        if grant.ours:
            method.unmap(grant)
    return grant


def _answer(offer: Offer) -> Answer:
    gateway: Gateway = offer.method.gateway
    return Answer(
        gateway.address, gateway.interface, offer.method.name, offer.answered, offer.address, offer.problem
    )


def described(trial: Trial) -> dict[str, object]:
    """The trial as JSON has it."""
    return asdict(trial)


def lines(trial: Trial) -> list[str]:
    """The trial as lines for a person: a way a line, then what follows."""
    text = []
    for answer in trial.answers:
        told = answer.external_address or "answers; tells its address only with a mapping"
        via = f"{answer.gateway} by {answer.interface}"
        text.append(f"{via}  {answer.method:7}  {answer.problem or told}")
    mapping = trial.mapping
    if mapping.external_port:
        text.append(
            f"mapped {mapping.external} by {mapping.method} for {mapping.lease} s, and removed it again"
        )
    if mapping.problem:
        text.append(mapping.problem)
    elif trial.possible is None:
        text.append(f"a port may be mapped by {mapping.method}; to see its address: ampzero nat test --map")
    elif not mapping.external_port:
        text.append(f"a port can be mapped by {mapping.method}; the world sees {mapping.external_address}")
    return text
