"""Who gets a blob from whom, in any order of events; and the one line that a relay reads."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.agent.errors import AgentError
from deploy.agent.relay import LONGEST, Request, Tokens
from deploy.relays import CHILDREN, PLACES, SEEDS, TRIES, Fanout, FromHere, Place


class Run:
    """All hosts ask; `choose(n)` says which of those that work is the next to be done."""

    def __init__(self, hosts: int) -> None:
        self.names = [f"h{number}" for number in range(hosts)]
        self.fanout = Fanout(self.names)
        self.waiting = list(self.names)
        self.busy: dict[str, Place | FromHere] = {}
        self.done: list[str] = []
        self.from_here = 0
        self.failures = 0

    def ask(self) -> None:
        for host in list(self.waiting):
            source = self.fanout.source(host)
            if source is None:
                continue
            self.waiting.remove(host)
            self.busy[host] = source
            if isinstance(source, Place):
                assert source.parent in self.done
                assert sum(source.parent == other.parent for other in self.places()) <= CHILDREN
            else:
                self.from_here += 1

    def places(self) -> list[Place]:
        return [source for source in self.busy.values() if isinstance(source, Place)]

    def succeed(self, host: str) -> None:
        source = self.busy.pop(host)
        if isinstance(source, Place):
            self.fanout.pulled(source)
        places = [Place(host, "127.0.0.1", 1, str(number)) for number in range(self.fanout.children())]
        assert len(places) <= PLACES
        self.fanout.has(host, places)
        self.done.append(host)

    def fail(self, host: str, *, lied: bool) -> None:
        source = self.busy[host]
        if isinstance(source, Place):
            del self.busy[host]
            self.failures += 1
            self.fanout.failed(host, source, lied=lied)
            self.waiting.append(host)
        else:
            self.succeed(host)


@given(st.integers(1, 150), st.data())
def test_every_host_gets_it_from_one_that_has_it_and_the_coordinator_sends_it_eight_times(
    hosts: int, data: st.DataObject
) -> None:
    run = Run(hosts)
    run.ask()
    while run.busy:
        run.succeed(data.draw(st.sampled_from(sorted(run.busy))))
        run.ask()
    assert sorted(run.done) == sorted(run.names) and not run.waiting
    assert run.from_here == min(SEEDS, hosts)


@given(st.integers(1, 60), st.data())
def test_every_host_gets_it_whatever_fails_and_wherever(hosts: int, data: st.DataObject) -> None:
    run = Run(hosts)
    run.ask()
    while run.busy:
        host = data.draw(st.sampled_from(sorted(run.busy)))
        match data.draw(st.sampled_from(["fine", "lost", "lied", "out"])):
            case "fine":
                run.succeed(host)
            case "out":
                run.busy.pop(host)
                run.fanout.leave(host)
                run.done.append(host)
            case how:
                run.fail(host, lied=how == "lied")
        run.ask()
    assert sorted(run.done) == sorted(run.names) and not run.waiting
    assert run.failures <= TRIES * hosts


def test_a_thousand_hosts_have_it_after_four_rounds() -> None:
    run = Run(1000)
    rounds = []
    run.ask()
    while run.busy:
        for host in list(run.busy):
            run.succeed(host)
        rounds.append(len(run.done))
        run.ask()
    assert rounds == [8, 40, 200, 1000]
    assert run.from_here == SEEDS


def test_hosts_that_cannot_reach_each_other_get_it_from_the_coordinator_soon() -> None:
    run = Run(300)
    run.ask()
    rounds = 0
    while run.busy:
        rounds += 1
        for host in list(run.busy):
            run.fail(host, lied=False)
        run.ask()
    assert len(run.done) == 300 and rounds <= 4
    assert run.failures <= SEEDS * CHILDREN


def test_hosts_that_do_not_need_it_keep_nobody_waiting() -> None:
    fanout = Fanout(["a", "b", "c"])
    fanout.leave("b")
    fanout.leave("c")
    assert fanout.source("a") == FromHere()
    assert fanout.children() == 0


def test_after_a_lie_nobody_is_sent_to_that_relay() -> None:
    names = [f"h{number}" for number in range(SEEDS + 3)]
    fanout = Fanout(names)
    for name in names[:SEEDS]:
        fanout.source(name)
    fanout.has("h0", [Place("h0", "127.0.0.1", 1, token) for token in "abc"])
    place = fanout.source("h8")
    assert isinstance(place, Place)
    fanout.failed("h8", place, lied=True)
    assert fanout.source("h9") is None


def test_a_request_survives_the_way() -> None:
    request = Request("a" * 64, "b" * 64, 10**15 - 1)
    line = request.encode()
    assert Request.parse(line) == request and len(line) <= LONGEST


@given(st.one_of(st.binary(max_size=300), st.from_regex(rb"ampzero-relay-1 [0-9a-f ]{0,200}\n")))
def test_what_is_no_request_is_refused(line: bytes) -> None:
    try:
        request = Request.parse(line)
    except AgentError:
        return
    assert request.offset < math.inf and len(request.token) == len(request.sha256) == 64
    assert line.rstrip(b"\n").startswith(request.encode().rstrip(b"\n0123456789"))


SAID = b"ampzero-relay-1 " + b"a" * 64 + b" "


@pytest.mark.parametrize("line", [
    b"", b"\n", SAID + b"b" * 64 + b" -1\n", SAID + b"../" + b"b" * 61 + b" 0\n",
    SAID + b"b" * 64 + b" 0\nmore\n",
])  # fmt: skip
def test_a_request_says_a_hash_and_a_place_and_nothing_else(line: bytes) -> None:
    with pytest.raises(AgentError):
        Request.parse(line)


def test_a_token_is_good_once_for_each_blob() -> None:
    tokens = Tokens(2, ["x", "y"])
    first, second = tokens.tokens
    assert tokens.use(first, "x") and not tokens.use(first, "x")
    assert tokens.use(first, "y") and tokens.use(second, "x")
    assert not tokens.use("0" * 64, "x") and not tokens.use(second, "z")
