from __future__ import annotations

import json
import random
import sqlite3
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import StorageError
from lib.logs.record import Record, stamp
from lib.logs.show import as_json
from lib.logstore import schema, search
from lib.logstore.store import Limits, Store
from lib.logstore.wire import (
    Query,
    RequestError,
    decode_batch,
    decode_record,
    encode_batch,
    from_micros,
    make_query,
    micros,
)

START = 1_790_000_000
WORDS = [
    "GET",
    "get",
    "error",
    "Größe",
    "näher",
    "ab",
    "x",
    "500",
    "user=7",
    "/path/to",
    "\x1b[31mred\x1b[0m",
    '"q"',
]


def record(sequence: int, text: bytes = b"text", service: str = "web", time: float | None = None) -> Record:
    moment = START + sequence / 10 if time is None else time
    return Record(stamp(moment), service, 1, "out", sequence, text)


def some_records(count: int, seed: int = 1) -> list[Record]:
    """Records of three services with texts of few words, some not UTF-8, times in disorder."""
    chance = random.Random(seed)
    found = []
    for index in range(count):
        text = " ".join(chance.choices(WORDS, k=chance.randint(0, 5))).encode()
        if index % 17 == 0:
            text += b"\xff\x00tail"
        if index % 100 == 0:
            text += b"." * 5000 + b" GET error"
        found.append(
            Record(
                stamp(START + chance.randint(0, 5000) / 10), chance.choice(["web", "worker", "a.b"]),
                chance.randint(0, 2), chance.choice(["out", "err", "sys"]), index, text,
            )
        )  # fmt: skip
    return found


def naive(records: list[Record], query: Query) -> list[Record]:
    """What a search must find, the plainest way; order among equal times is the store's own."""
    needle = query.text.encode().lower()

    def named(one: Record) -> bool:
        return not query.names or one.service in query.names or one.process in query.names

    return [
        one for one in records
        if needle in one.text.lower() and named(one) and (not query.streams or one.stream in query.streams)
        and one.time >= query.since and (not query.until or one.time < query.until)
    ]  # fmt: skip


def found_by(store: Store, query: Query) -> list[Record]:
    """All pages of an answer."""
    found: list[Record] = []
    while True:
        page = store.search(query)
        assert len(page.records) <= query.limit
        found += [one for _, one in page.records]
        if not page.cursor:
            return found
        moment, number = page.cursor.split("-")
        query = replace(query, cursor=(int(moment), int(number)))


@pytest.fixture(params=["trigrams", "no trigrams", "all frequent"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "no trigrams":
        monkeypatch.setattr(schema, "WORDS", "USING no_such_module")
    monkeypatch.setattr(schema, "CHUNK", 256)
    if request.param == "all frequent":
        monkeypatch.setattr(search, "RARE", 0)
    store = Store(tmp_path / "logs.sqlite")
    assert store.indexed == (request.param != "no trigrams")
    return store


def test_a_search_finds_what_reading_everything_finds(store: Store) -> None:
    records = some_records(1500)
    store.add("kickass", records)
    chance = random.Random(2)
    texts = ["", "x", "ab", "rro", "ERROR", "GET", "größe", "Größe", "ähe", "00", "user=7 /path", '"q"',
             "[31m", "tail", "none of it", "\x00t", "error error"]  # fmt: skip
    for _ in range(120):
        query = Query(
            text=chance.choice(texts),
            names=tuple(chance.sample(["web", "worker.1", "a.b", "a.b.2", "none"], chance.randint(0, 2))),
            streams=tuple(chance.sample(["out", "err"], chance.randint(0, 2))),
            since=chance.choice(["", stamp(START + 100)]), until=chance.choice(["", stamp(START + 300)]),
            limit=chance.choice([1000, 37]),
        )  # fmt: skip
        found = found_by(store, query)
        wanted = naive(records, query)
        assert sorted(found) == sorted(wanted), query
        assert [one.time for one in found] == sorted((one.time for one in wanted), reverse=True)


def test_a_histogram_counts_what_reading_everything_counts(store: Store) -> None:
    records = some_records(800)
    store.add("kickass", records)
    query = Query(since=stamp(START), until=stamp(START + 400), bucket=60, text="err")
    found = store.histogram(query)
    counted = Counter(
        (from_micros(micros(one.time) // 60_000_000 * 60_000_000), one.service)
        for one in naive(records, query)
    )
    assert {(time, name): n for time, counts in found.counts.items() for name, n in counts.items()} == counted
    assert found.seconds == 60
    with pytest.raises(RequestError, match="buckets"):
        store.histogram(replace(query, bucket=1, since=stamp(0)))


def test_the_same_record_is_kept_once(store: Store) -> None:
    records = [record(index) for index in range(10)]
    assert store.add("kickass", records) == 10
    assert store.add("kickass", [*records[5:], record(10)]) == 1
    assert store.add("other", records) == 10
    begun_again = record(3, time=START + 1000)
    assert store.add("kickass", [begun_again]) == 1, "after the logs were deleted, numbers begin anew"
    assert len(found_by(store, Query(instance="kickass"))) == 12
    assert store.sources() == [("kickass", "web"), ("other", "web")]


def test_a_batch_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path / "logs.sqlite")
    with pytest.raises(RequestError):
        store.add("kickass", [record(1), record(2)._replace(time="yesterday")])
    with pytest.raises(StorageError):
        store.add("kickass", [record(1), record(2)._replace(sequence="x", text=None)])  # type: ignore[arg-type]
    assert found_by(store, Query()) == []
    assert store.add("kickass", [record(1)]) == 1


def test_old_records_are_dropped(store: Store) -> None:
    now = START + 1000.0
    store.limits = Limits(age=50.0, size=0)
    store._clock = lambda: now
    store.add("kickass", [record(index) for index in range(9900)])
    dropped = [store.expire() for _ in range(3)]
    assert dropped[0] == 5000
    assert sum(dropped) == 9500
    assert [one.sequence for one in found_by(store, Query(text="text", limit=1000))] == list(
        range(9899, 9499, -1)
    )


def test_a_store_that_dropped_all_gives_its_room_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "CHUNK", 256)
    store = Store(tmp_path / "logs.sqlite", Limits(age=1, size=0))
    store.add("kickass", [record(index, b"%d" % index * 100) for index in range(1000)])
    full = store.used()
    assert store.expire() == 1000
    assert store.used() < full / 2
    assert schema.chunks(store._writer) == [3]
    assert store.add("kickass", [record(5)]) == 1
    assert len(found_by(store, Query(text="text"))) == 1


def test_the_size_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "CHUNK", 2048)
    limit = 4 * 1024 * 1024
    store = Store(tmp_path / "logs.sqlite", Limits(age=0, size=limit))
    chance = random.Random(3)
    for start in range(0, 60_000, 2000):
        store.add("kickass", [record(start + i, b"%x" % chance.getrandbits(400)) for i in range(2000)])
    while store.used() > limit:
        assert store.expire()
    newest = found_by(store, Query(limit=1000))
    assert newest[0].sequence == 59_999
    assert 5_000 < len(newest) < 60_000
    assert [one.sequence for one in newest] == list(range(59_999, 59_999 - len(newest), -1))
    assert store.used() <= limit
    assert (tmp_path / "logs.sqlite").stat().st_size < 2 * limit


def test_many_threads_may_use_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "logs.sqlite")
    wrong: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for index in range(20):
                store.add("kickass", [record(number * 1000 + index)])
                store.search(Query(text="text"))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(found_by(store, Query(limit=1000))) == 120


def test_a_search_that_takes_too_long_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "logs.sqlite")
    store.add("kickass", some_records(5000))
    monkeypatch.setattr(search, "DEADLINE", -1.0)
    with pytest.raises(RequestError) as caught:
        store.search(Query(text="zz"))
    assert caught.value.status == 503


def test_a_file_that_is_no_database_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "logs.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StorageError):
        Store(tmp_path / "logs.sqlite")


RECORDS = st.builds(
    Record, st.floats(0, 4e9).map(stamp), st.sampled_from(["web", "a.b"]), st.integers(0, 999),
    st.sampled_from(["out", "err", "sys"]), st.integers(0, 2**62), st.binary(max_size=50), st.booleans(),
)  # fmt: skip


@given(st.lists(RECORDS, max_size=5))
def test_records_come_over_the_wire_as_they_were(records: list[Record]) -> None:
    assert decode_batch(encode_batch("kickass", records)) == ("kickass", records)


KEYS = st.sampled_from(["instance", "records", "time", "text", "bytes", "process"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda x: st.lists(x) | st.dictionaries(KEYS, x),
    max_leaves=8,
)


@given(JSON)
def test_any_json_is_taken_or_refused(value: object) -> None:
    try:
        instance, records = decode_batch(json.dumps(value).encode())
    except RequestError:
        return
    assert isinstance(instance, str)
    assert not records


@pytest.mark.parametrize(
    "change",
    [{"time": "2026-13-01T00:00:00.000000Z"}, {"time": 1}, {"service": "../x"}, {"process": -1},
     {"process": True}, {"stream": "out+"}, {"sequence": 2**63}, {"text": None}, {"text": "\ud800"},
     {"bytes": "?"}, {"more": 1}],
)  # fmt: skip
def test_a_bad_record_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        decode_record({**as_json(record(1)), **change}, "records[0]")


@given(
    st.lists(
        st.tuples(st.sampled_from(["text", "limit", "cursor", "since", "service", "stream", "?"]), st.text()),
        max_size=4,
    )
)
def test_any_parameters_are_taken_or_refused(parameters: list[tuple[str, str]]) -> None:
    try:
        make_query(parameters)
    except RequestError as error:
        assert error.status == 400


def test_times_are_exact_to_the_microsecond() -> None:
    for moment in (0, 1, 999_999, START * 1_000_000 + 123_456, 4_000_000_000_000_001):
        assert micros(from_micros(moment)) == moment


def test_it_says_whether_this_sqlite_has_trigrams(tmp_path: Path) -> None:
    assert Store(tmp_path / "logs.sqlite").indexed == (sqlite3.sqlite_version_info >= (3, 34))
