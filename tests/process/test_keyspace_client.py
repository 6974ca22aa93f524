"""The client's verbs against a real etcd, beside a plain dict that says what should come out."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from spec_runner import instance_at, running, service_of, wait_until

from lib.keyspace.client import KeyspaceClient
from lib.keyspace.transport import KeyspaceError, UnavailableError

KEYS = st.binary(min_size=1, max_size=3) | st.sampled_from(
    [b"a", b"ab", b"ab\xff", b"\xff", b"\xff\xff", b"\0", b"b"]
)
VALUES = st.binary(max_size=6) | st.sampled_from([b"7", b"-3", b""])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    service = service_of(instance_at(tmp_path_factory.mktemp("keyspace")), "keyspace")
    with running(service):
        yield service.environment()["KEYSPACE_URL"]


@pytest.fixture
def store(url: str) -> KeyspaceClient:
    client = KeyspaceClient(url)
    client.prune("")
    return client


def text(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")


class Machine(RuleBasedStateMachine):
    """Any sequence of verbs gives what a dict gives."""

    client: KeyspaceClient

    def __init__(self) -> None:
        super().__init__()
        self.client.prune("")
        self.model: dict[bytes, bytes] = {}

    @rule(key=KEYS, value=VALUES, keep=st.booleans())
    def set(self, key: bytes, value: bytes, keep: bool) -> None:
        self.client.set(key, value, keep_expiry=keep)
        self.model[key] = value

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        assert self.client.get(key) == self.model.get(key)
        assert self.client.dirtyget(key) == self.model.get(key)

    @rule(key=KEYS, test=st.none() | VALUES, value=VALUES)
    def testandset(self, key: bytes, test: bytes | None, value: bytes) -> None:
        done = self.model.get(key) == test
        assert self.client.testandset(key, test, value) == done
        if done:
            self.model[key] = value

    @rule(key=KEYS, number=st.integers(-(10**20), 10**20))
    def add(self, key: bytes, number: int) -> None:
        now = self.model.get(key, b"0")
        if not now.removeprefix(b"-").isdigit():
            with pytest.raises(KeyspaceError, match="not a whole number"):
                self.client.add(key, number)
            return
        assert self.client.add(key, number) == int(now) + number
        self.model[key] = str(int(now) + number).encode()

    @rule(key=KEYS, to=KEYS)
    def rename(self, key: bytes, to: bytes) -> None:
        assert self.client.rename(key, to) == (key in self.model)
        if key in self.model:
            self.model[to] = self.model.pop(key)

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        assert self.client.delete(key) == (self.model.pop(key, None) is not None)

    @rule(key=KEYS)
    def remove(self, key: bytes) -> None:
        assert self.client.remove(key) == self.model.pop(key, None)

    @rule(prefix=KEYS)
    def prune(self, prefix: bytes) -> None:
        gone = [key for key in self.model if key.startswith(prefix)]
        assert self.client.prune(prefix) == len(gone)
        for key in gone:
            del self.model[key]

    @rule(key=KEYS)
    def expiries(self, key: bytes) -> None:
        assert self.client.setexpiry(key, 1000) == (key in self.model)
        assert self.client.removeexpiry(key) == (key in self.model)
        assert self.client.clearexpiries() == 0

    @rule(prefix=st.just(b"") | KEYS, limit=st.integers(0, 4), descending=st.booleans())
    def listing(self, prefix: bytes, limit: int, descending: bool) -> None:
        keys = sorted((key for key in self.model if key.startswith(prefix)), reverse=descending)
        assert self.client.count(prefix) == len(keys)
        keys = keys[: limit or None]
        assert self.client.listkeys(prefix, limit=limit, descending=descending) == [text(key) for key in keys]
        listed = self.client.listkeyvalues(prefix, limit=limit, descending=descending)
        assert listed == [(text(key), self.model[key]) for key in keys]

    @rule(changes=st.dictionaries(KEYS, st.none() | VALUES, max_size=5))
    def batch(self, changes: dict[bytes, bytes | None]) -> None:
        result = self.client.batch(
            [("delete", key) if value is None else ("set", key, value) for key, value in changes.items()]
        )
        assert result == [key in self.model if value is None else None for key, value in changes.items()]
        for key, value in changes.items():
            if value is None:
                self.model.pop(key, None)
            else:
                self.model[key] = value

    @invariant()
    def same(self) -> None:
        assert self.client.listkeyvalues() == [(text(key), self.model[key]) for key in sorted(self.model)]


def test_every_verb_does_what_a_dict_does(url: str) -> None:
    kind = type("OnThisServer", (Machine,), {"client": KeyspaceClient(url)})
    run_state_machine_as_test(
        kind,
        settings=settings(max_examples=25, stateful_step_count=20, suppress_health_check=list(HealthCheck)),
    )


def test_long_lists_come_in_pages_of_one_revision(store: KeyspaceClient) -> None:
    for first in range(0, 2300, 100):
        store.batch([("set", f"k{number:05}", b"v") for number in range(first, first + 100)])
    expected = [f"k{number:05}" for number in range(2300)]
    assert store.listkeys("k") == expected
    assert store.listkeys("k", descending=True) == expected[::-1]
    assert store.listkeys("k", limit=1500) == expected[:1500]
    assert [key for key, _ in store.listkeyvalues("k", limit=100, descending=True)] == expected[:-101:-1]
    assert store.count("k") == 2300
    # The verbs read all pages at once; only their generator can be stopped between two.
    pages = store._list("k", 0, False, keys_only=True)
    assert next(pages).name == expected[0]
    assert store.delete(expected[-1])
    assert [found.name for found in pages] == expected[1:]


def test_values_up_to_their_limit(store: KeyspaceClient) -> None:
    largest = bytes(range(256)) * 5859 + b"x" * 96
    assert len(largest) == 1_500_000
    store.set("large", largest)
    assert store.get("large") == largest
    for number in range(6):
        store.set(f"many/{number}", largest)
    assert len(store.listkeyvalues("many/")) == 6
    with pytest.raises(KeyspaceError, match="at most 1500000 bytes"):
        store.set("large", largest + b"x")


@pytest.mark.parametrize("key", ["", "k" * 4097])
def test_impossible_keys(store: KeyspaceClient, key: str) -> None:
    for call in (store.get, store.delete, store.removeexpiry, lambda key: store.rename("a", key)):
        with pytest.raises(KeyspaceError, match="1 to 4096 bytes"):
            call(key)


def test_counting_together_loses_nothing(store: KeyspaceClient) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: store.add("counter", 1), range(100)))
    assert store.get("counter") == b"100"


def test_a_key_vanishes_when_it_expires(store: KeyspaceClient) -> None:
    store.set("gone", "1")
    store.set("kept", "1")
    store.set("freed", "1")
    for key in ("gone", "kept", "freed"):
        assert store.setexpiry(key, 5)
    assert store.add("gone", 1) == 2, "keeps its expiry"
    store.set("kept", "2")
    assert store.rename("gone", "renamed"), "keeps its expiry, too"
    assert store.clearexpiries("freed") == 1
    began = time.monotonic()
    wait_until(lambda: store.get("renamed") is None, what="expired")
    assert time.monotonic() - began > 0.5
    assert store.get("kept") == b"2"
    assert store.get("freed") == b"1"


def test_set_can_keep_the_expiry(store: KeyspaceClient) -> None:
    store.set("k", "1")
    store.setexpiry("k", 100)
    store.set("k", "2", keep_expiry=True)
    assert store.testandset("k", "2", "3")
    assert store.clearexpiries() == 1
    assert store.get("k") == b"3"


@pytest.mark.parametrize("seconds", [0, -1, 1.9, 1e12, float("nan")])
def test_impossible_expiries(store: KeyspaceClient, seconds: float) -> None:
    with pytest.raises(KeyspaceError, match="expiry"):
        store.setexpiry("k", seconds)


def test_a_batch_is_all_or_nothing(store: KeyspaceClient) -> None:
    store.set("old", "1")
    with pytest.raises(KeyspaceError, match="duplicate key"):
        store.batch([("set", "new", "1"), ("set", "new", "2")])
    with pytest.raises(KeyspaceError, match="at most 128"):
        store.batch([("set", f"{number}", "") for number in range(129)])
    assert store.listkeys() == ["old"]
    assert store.batch([("get", "old"), ("get", "none"), ("delete", "old"), ("set", "new", "2")]) == [
        b"1", None, True, None,
    ]  # fmt: skip
    assert store.batch([]) == []


def test_the_master_has_the_members_name(store: KeyspaceClient) -> None:
    assert store.getmaster() == "keyspace"


def test_the_second_endpoint_serves_when_the_first_is_gone(url: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        both = KeyspaceClient(f"http://127.0.0.1:{nobody.getsockname()[1]},{url}")
        both.prune("")
        both.set("k", "v")
        assert both.testandset("k", "v", "w")
        assert both.get("k") == b"w"


def test_a_silent_server_takes_no_longer_than_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = KeyspaceClient(f"http://127.0.0.1:{silent.getsockname()[1]}", deadline=0.3)
        with pytest.raises(UnavailableError, match=r"no answer within 0\.3 s"):
            client.testandset("k", "a", "b")
        silent.accept()[0].close()
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):  # a write that may have been done is not sent again
            silent.accept()


def test_it_rides_over_a_restart(tmp_path: Path) -> None:
    service = service_of(instance_at(tmp_path), "keyspace")
    client = KeyspaceClient(service.environment()["KEYSPACE_URL"], deadline=10)
    with running(service) as run:
        client.set("k", "v")
        run.stop()
    with pytest.raises(UnavailableError, match="does not answer"):
        client.get("k")
    answers: list[bytes | None] = []
    with running(service):
        threads = [threading.Thread(target=lambda: answers.append(client.get("k"))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [b"v"] * 3
