"""The SQLite store against a naive one: a dict, sorted and filtered in Python."""

from __future__ import annotations

import functools
import json
import sqlite3
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import DiskFullError
from lib.zerodata.index import Index
from lib.zerodata.query import Order, make_query
from lib.zerodata.record import ConflictError, Delete, Put, RequestError
from lib.zerodata.sqlite import SqliteStore

"""A busy machine is no failure."""
KEY = b"k" * 32
INDEXES = (
    Index("k", (Order("a"),)),
    Index("k", (Order("b"), Order("a", True))),
    Index("k", (Order("c.d", True),)),
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.5, -1.5, 2.0, 1e300, 2**53 + 1, -(2**63), 2**63 - 1])
    | st.text(st.sampled_from("ab\U0010ffffé"), max_size=3)
)
values = st.fixed_dictionaries(
    {},
    optional={
        "a": scalars,
        "b": scalars,
        "c": st.fixed_dictionaries({}, optional={"d": scalars}) | scalars | st.just([1]),
    },
)
ids = st.text(st.sampled_from("xyé/'"), min_size=1, max_size=3)
names = st.sampled_from(["a", "b", "c.d", "c", "@id"])
filters = st.one_of(
    st.tuples(names, st.sampled_from(["=", "!="]), scalars),
    st.tuples(
        names, st.sampled_from(["<", "<=", ">", ">="]), scalars.filter(lambda value: value is not None)
    ),
    st.tuples(names, st.just("in"), st.lists(scalars, min_size=1, max_size=3)),
    st.tuples(names, st.just("prefix"), st.text(st.sampled_from("abxé\U0010ffff"), max_size=2)),
).map(list)
orders = st.lists(names, max_size=3, unique=True).flatmap(
    lambda chosen: st.tuples(*(st.sampled_from([name, f"-{name}"]) for name in chosen)).map(list)
)


def look(id: str, value: Any, name: str) -> Any:
    if name == "@id":
        return id
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def ranked(value: Any) -> tuple[int, Any]:
    """How values compare, as lib/zerodata/query.py says it."""
    if value is None:
        return (0, 0)
    for rank, kind in ((1, bool), (2, (int, float)), (3, str), (4, list), (5, dict)):
        if isinstance(value, kind):
            return (rank, json.dumps(value, separators=(",", ":"), ensure_ascii=False) if rank > 3 else value)
    raise AssertionError


def fits(id: str, value: Any, filter: list[Any]) -> bool:
    name, operator, wanted = filter
    have: tuple[int, Any] = ranked(look(id, value, name))
    if operator == "in":
        return any(have == ranked(one) for one in wanted)
    if operator == "prefix":
        return have[0] == 3 and bool(have[1].startswith(wanted))
    want = ranked(wanted)
    if operator in ("=", "!="):
        return bool(have == want) is bool(operator == "=")
    holds: bool = {"<": have < want, "<=": have <= want, ">": have > want, ">=": have >= want}[operator]
    return bool(have[0] == want[0]) and holds


def naive(model: dict[str, Any], asked: list[list[Any]], order: list[str]) -> list[str]:
    found = [id for id, value in model.items() if all(fits(id, value, one) for one in asked)]

    def compare(one: str, other: str) -> int:
        for key in [*order, "-@id" if order and order[-1].startswith("-") else "@id"]:
            name = key.removeprefix("-")
            left, right = ranked(look(one, model[one], name)), ranked(look(other, model[other], name))
            if left != right:
                return (-1 if left < right else 1) * (-1 if key.startswith("-") else 1)
        return 0

    return sorted(found, key=functools.cmp_to_key(compare))


def pages(store: SqliteStore, asked: list[list[Any]], order: list[str], limit: int) -> list[str]:
    found: list[str] = []
    body: dict[str, Any] = {"kind": "k", "filters": asked, "order": order, "limit": limit}
    while True:
        page = store.query(make_query(body))
        assert len(page.records) <= limit
        found += [record.id for record in page.records]
        body["cursor"] = page.cursor
        if page.cursor is None:
            return found


@settings(max_examples=150)
@given(
    st.dictionaries(ids, values, max_size=12),
    st.lists(st.tuples(st.lists(filters, max_size=3), orders, st.integers(1, 5)), min_size=1, max_size=6),
    st.booleans(),
)
def test_queries_answer_as_the_naive_store(model: dict[str, Any], queries: list[Any], indexed: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "db", KEY, INDEXES if indexed else ())
        try:
            if model:
                store.apply([Put("k", id, value) for id, value in model.items()])
                store.apply([Put("other", "x", {"a": 1})])
            for asked, order, limit in queries:
                assert pages(store, asked, order, limit) == naive(model, asked, order), (asked, order)
        finally:
            store.close()


@settings(max_examples=60)
@given(st.dictionaries(ids, values, min_size=3, max_size=10), ids, values, orders)
def test_a_cursor_is_stable_under_writes(
    model: dict[str, Any], new: str, value: Any, order: list[str]
) -> None:
    """What was there all the time comes exactly once, in order, whatever is inserted between the pages."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "db", KEY, INDEXES)
        try:
            store.apply([Put("k", id, one) for id, one in model.items()])
            body: dict[str, Any] = {"kind": "k", "order": order, "limit": 2}
            first = store.query(make_query(body))
            found = [record.id for record in first.records]
            if new not in model:
                store.apply([Put("k", new, value)])
            store.apply([Delete("k", found[-1])])
            cursor = first.cursor
            while cursor is not None:
                page = store.query(make_query({**body, "cursor": cursor}))
                found += [record.id for record in page.records]
                cursor = page.cursor
            assert [id for id in found if id in model] == naive(model, [], order)
        finally:
            store.close()


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = SqliteStore(tmp_path / "db", KEY, INDEXES)
    yield made
    made.close()


def test_versions(store: SqliteStore) -> None:
    (first,) = store.apply([Put("k", "x", {"a": 1}, version=0)])
    with pytest.raises(ConflictError):
        store.apply([Put("k", "x", {}, version=0)])
    (second,) = store.apply([Put("k", "x", {"a": 2}, version=first)])
    with pytest.raises(ConflictError):
        store.apply([Put("k", "x", {}, version=first)])
    with pytest.raises(ConflictError):
        store.apply([Delete("k", "x", version=first)])
    assert store.apply([Delete("k", "x", version=second)]) == [1]
    assert store.apply([Delete("k", "x")]) == [0]
    with pytest.raises(ConflictError, match="does not exist"):
        store.apply([Delete("k", "x", version=second)])
    (third,) = store.apply([Put("k", "x", {}, version=0)])
    assert first < second < third


def test_a_batch_is_all_or_nothing(store: SqliteStore) -> None:
    store.apply([Put("k", "x", {"a": 1})])
    with pytest.raises(ConflictError):
        store.apply([Delete("k", "x"), Put("k", "y", {}), Put("k", "z", {}, version=9)])
    with pytest.raises(RequestError):
        store.apply([Put("k", "y", {}), Put("k", "z", {"a": float("nan")})])
    assert store.get("k", "x") is not None
    assert store.get("k", "y") is None


def test_writers_that_share_a_commit_keep_apart(store: SqliteStore) -> None:
    """Half of the writers conflict; theirs is undone, the others' is done, and counting loses nothing."""
    store.apply([Put("k", "n", {"a": 0})])
    conflicts = []

    def count(number: int) -> None:
        for step in range(20):
            if number % 2:
                try:
                    store.apply([Put("k", f"bad{number}", {}), Put("k", "n", {}, version=10**9)])
                except ConflictError:
                    conflicts.append(1)
                continue
            while True:
                now = store.get("k", "n")
                assert now is not None
                try:
                    store.apply([Put("k", "n", {"a": json.loads(now.text)["a"] + 1}, version=now.version)])
                    break
                except ConflictError:
                    continue
            store.apply([Put("k", f"good{number}-{step}", {})])

    threads = [threading.Thread(target=count, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = store.get("k", "n")
    assert now is not None
    assert json.loads(now.text) == {"a": 80}
    assert len(conflicts) == 80
    found = pages(store, [["@id", "prefix", "good"]], [], 1000)
    assert len(found) == 80
    assert pages(store, [["@id", "prefix", "bad"]], [], 1000) == []


def test_queries_use_the_declared_indexes(store: SqliteStore, tmp_path: Path) -> None:
    from lib.zerodata.sql import select

    base = sqlite3.connect(tmp_path / "db")
    for body in (
        {"kind": "k", "filters": [["a", ">", 1]], "order": ["a"]},
        {"kind": "k", "filters": [["a", "prefix", "x"]]},
        {"kind": "k", "filters": [["b", "=", 1]], "order": ["-a"]},
        {"kind": "k", "order": ["b", "-a"]},
        {"kind": "k", "order": ["-c.d"]},
    ):
        statement, bound = select(make_query(body), None)
        plan = " ".join(row[3] for row in base.execute("EXPLAIN QUERY PLAN " + statement, bound))
        assert "declared_" in plan, (body, plan)
        assert "order" not in body or "TEMP B-TREE" not in plan, (body, plan)
    base.close()


def test_indexes_follow_their_declaration(tmp_path: Path) -> None:
    def present() -> int:
        base = sqlite3.connect(tmp_path / "db")
        try:
            return len(base.execute("SELECT 1 FROM sqlite_master WHERE name LIKE 'declared%'").fetchall())
        finally:
            base.close()

    for indexes, count in ((INDEXES, 3), (INDEXES[:1], 1), ((), 0), (INDEXES, 3)):
        SqliteStore(tmp_path / "db", KEY, indexes).close()
        assert present() == count


def test_a_full_disk_refuses_and_harms_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "db", KEY, INDEXES, max_bytes=1_000_000)
    written = 0
    with pytest.raises(DiskFullError):
        for written in range(1000):
            store.apply([Put("k", str(written), {"a": "x" * 1000})])
    assert written > 50
    assert len(pages(store, [], [], 1000)) == written
    store.apply([Delete("k", str(number)) for number in range(20)])
    store.apply([Put("k", "again", {"a": "y"})])
    assert store.get("k", "again") is not None
    store.close()


def test_pages_end_before_they_are_too_large(store: SqliteStore) -> None:
    for number in range(7):
        store.apply([Put("k", str(number), {"a": "x" * 1_000_000})])
    page = store.query(make_query({"kind": "k", "limit": 7}))
    assert len(page.records) == 4
    assert page.cursor is not None
    assert pages(store, [], [], 7) == [str(number) for number in range(7)]
    with pytest.raises(RequestError, match="too long for a cursor"):
        pages(store, [], ["a"], 2)


def test_a_query_that_takes_too_long_is_ended(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib.zerodata import sqlite

    for start in range(0, 6000, 500):
        store.apply([Put("k", str(number), {"x": [1] * 100}) for number in range(start, start + 500)])
    assert len(pages(store, [["x.y", "=", None]], ["x"], 1000)) == 6000
    monkeypatch.setattr(sqlite, "MAX_QUERY", 0.0)
    with pytest.raises(RequestError, match="took more than"):
        pages(store, [["x.y", "=", None]], ["x"], 1000)
    assert store.get("k", "1") is not None
