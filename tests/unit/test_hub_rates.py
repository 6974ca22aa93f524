"""Token buckets and who is counted with whom."""

from __future__ import annotations

import pytest

from keys.hubserver.rates import DEFAULTS, Limiter, Rate, network, rates, retry_after
from keys.hubserver.source import networks, plain, source
from lib.errors import UsageError


def test_a_bucket_gives_its_count_at_once_and_as_many_again_over_its_time() -> None:
    clock = [1000.0]
    limiter = Limiter(Rate(3, 60), lambda: clock[0])
    assert [limiter.wait("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limiter.wait("a") == pytest.approx(20)
    assert limiter.wait("b") == 0.0, "another's bucket is its own"
    clock[0] += 20
    assert limiter.wait("a") == 0.0
    assert limiter.wait("a") == pytest.approx(20)
    clock[0] += 1000
    assert [limiter.wait("a") for _ in range(4)][2:] == [0.0, pytest.approx(20)]


def test_a_refused_request_takes_no_token() -> None:
    clock = [0.0]
    limiter = Limiter(Rate(1, 10), lambda: clock[0])
    assert limiter.wait("a") == 0.0
    for _ in range(100):
        assert limiter.wait("a") == pytest.approx(10)
    clock[0] = 10
    assert limiter.wait("a") == 0.0


def test_looking_first_takes_none() -> None:
    limiter = Limiter(Rate(1, 10), lambda: 0.0)
    assert limiter.look("a") == limiter.look("a") == 0.0
    assert limiter.wait("a") == 0.0
    assert limiter.look("a") == pytest.approx(10)


def test_the_memory_is_bounded() -> None:
    limiter = Limiter(Rate(1, 10), lambda: 0.0, most=100)
    for number in range(10_000):
        limiter.wait(str(number))
    assert len(limiter) == 100


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.7", "203.0.113.0/24"),
        ("::ffff:203.0.113.7", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("", ""),
    ],
)
def test_networks_are_counted_together(address: str, counted: str) -> None:
    assert network(address) == counted


def test_rates_are_read() -> None:
    chosen = rates(("register=600/60",))
    assert chosen["register"] == Rate(600, 60)
    assert chosen["announce"] == DEFAULTS["announce"]
    for wrong in ("x=1/1", "register", "register=0/1", "register=1/0", "register=1", "register=-1/2"):
        with pytest.raises(UsageError):
            rates((wrong,))


def test_waiting_is_spread() -> None:
    assert retry_after(10, lambda low, high: low) == "10"
    assert retry_after(10, lambda low, high: high) == "16"
    assert retry_after(0.01, lambda low, high: low) == "1"


def headers(*pairs: tuple[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in pairs]


def test_without_a_trusted_proxy_the_header_is_not_believed() -> None:
    lies = headers(("x-forwarded-for", "198.51.100.1"))
    asked = source("203.0.113.7", lies, ())
    assert asked.address == "203.0.113.7"
    assert not asked.direct, "somebody forwards: a dial-back could reach another machine than who asked"
    assert source("203.0.113.7", [], ()).direct


@pytest.mark.parametrize(
    ("chain", "address", "direct"),
    [
        ("198.51.100.1", "198.51.100.1", True),
        ("9.9.9.9, 198.51.100.1", "198.51.100.1", True),
        ("9.9.9.9, 198.51.100.1, 10.1.1.1", "198.51.100.1", True),
        ("2001:db8::1", "2001:db8::1", True),
        ("", "127.0.0.1", False),
        ("rubbish", "127.0.0.1", False),
        ("9.9.9.9, rubbish", "127.0.0.1", False),
        ("10.1.1.1", "127.0.0.1", False),
        ("9.9.9.9," * 2000 + "198.51.100.1", "198.51.100.1", True),
    ],
)
def test_behind_a_trusted_proxy_the_last_foreign_address_counts(
    chain: str, address: str, direct: bool
) -> None:
    trusted = networks(["127.0.0.1", "10.0.0.0/8"])
    asked = source("::ffff:127.0.0.1", headers(("x-forwarded-for", chain)), trusted)
    assert (asked.address, asked.direct) == (address, direct)


def test_who_is_no_proxy_is_not_believed_either() -> None:
    trusted = networks(["10.0.0.0/8"])
    asked = source("203.0.113.7", headers(("x-forwarded-for", "198.51.100.1")), trusted)
    assert asked.address == "203.0.113.7"


def test_addresses_have_one_spelling() -> None:
    assert plain("::ffff:1.2.3.4") == "1.2.3.4"
    assert plain("2001:DB8::0001") == "2001:db8::1"
    assert plain("fe80::1%eth0") == "fe80::1"
    assert plain("localhost") == plain("") == plain("1.2.3") == ""
    with pytest.raises(UsageError):
        networks(["10.0.0.0/64"])
