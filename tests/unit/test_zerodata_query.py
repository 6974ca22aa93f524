from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import ConfigError, MissingError
from lib.zerodata import cursor
from lib.zerodata.index import load
from lib.zerodata.query import OPERATORS, Query, make_filter, make_query, parse_filter
from lib.zerodata.record import MAX_RECORD, RequestError, check_id, check_kind, encode, parse
from lib.zerodata.sql import after_prefix, select

"""A busy machine is no failure."""
KEY = b"k" * 32
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("a>1", ["a", ">", 1]),
        (" a.b >= -2.5 ", ["a.b", ">=", -2.5]),
        ("a!=x y", ["a", "!=", "x y"]),
        ('a="1"', ["a", "=", "1"]),
        ("a=null", ["a", "=", None]),
        ("a = true", ["a", "=", True]),
        ("state in [1, null]", ["state", "in", [1, None]]),
        ("a in[1]", ["a", "in", [1]]),
        ("name prefix x", ["name", "prefix", "x"]),
        ("@id prefix x/", ["@id", "prefix", "x/"]),
        ("@id prefix 2", ["@id", "prefix", "2"]),
        ("@id = 2", ["@id", "=", "2"]),
        ('name prefix "2"', ["name", "prefix", "2"]),
        ("prefix=in", ["prefix", "=", "in"]),
        ("a==b", ["a", "=", "=b"]),
    ],
)
def test_filters_as_text(text: str, made: list[Any]) -> None:
    assert parse_filter(text) == made


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a>",
        ">1",
        "a in 1",
        "a in []",
        "a<null",
        "a<[1]",
        "a..b=1",
        "@x=1",
        "a={}",
        "1a=2",
    ],
)
def test_no_filters(text: str) -> None:
    with pytest.raises(RequestError):
        parse_filter(text)


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        name, operator, value = parse_filter(text)
    except RequestError:
        return
    assert operator in OPERATORS
    make_filter(name, operator, value)


@given(st.dictionaries(st.sampled_from(["kind", "filters", "order", "limit", "cursor", "x"]), json_values))
def test_any_body_is_a_query_or_refused(body: dict[str, Any]) -> None:
    try:
        query = make_query(body)
    except RequestError:
        return
    assert 1 <= query.limit <= 1000


@pytest.mark.parametrize(
    "body",
    [
        [], {}, {"kind": "a b"}, {"kind": "a", "limit": 0}, {"kind": "a", "limit": 1001},
        {"kind": "a", "limit": True},
        {"kind": "a", "order": ["a", "-a"]}, {"kind": "a", "order": "a"},
        {"kind": "a", "filters": [["a", "="]]}, {"kind": "a", "filters": [["a", "~", 1]]},
        {"kind": "a", "filters": [["a'", "=", 1]]},
        {"kind": "a", "filters": [["a", "in", list(range(101))]]}, {"kind": "a", "cursor": 1},
        {"kind": "a", "more": 1},
        {"kind": "a", "filters": [["a", "=", 1]] * 21},
    ],
)  # fmt: skip
def test_bad_queries(body: Any) -> None:
    with pytest.raises(RequestError):
        make_query(body)


def test_foreign_text_never_becomes_sql() -> None:
    nasty = "x') OR 1=1 --"
    statement, bound = select(
        make_query({"kind": "a", "filters": [["p", "=", nasty], ["p", "prefix", nasty]]}), None
    )
    assert nasty not in statement
    assert nasty in bound


@given(
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.text(st.characters(codec="utf-8"), max_size=5),
)
def test_the_end_of_a_prefix(prefix: str, text: str) -> None:
    end = after_prefix(prefix)
    assert (text.startswith(prefix)) == (text >= prefix and (end is None or text < end))


position = st.lists(
    st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)


@given(position)
def test_cursors_come_back(place: list[Any]) -> None:
    made = cursor.encode(KEY, Query("a"), place)
    assert made is not None
    assert cursor.decode(KEY, Query("a", limit=7, cursor=made)) == place


@given(st.text(max_size=100) | st.binary(max_size=60).map(lambda raw: raw.hex()))
def test_any_text_as_cursor_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="cursor is not valid"):
        cursor.decode(KEY, Query("a", cursor=text))


def test_cursors_are_for_their_query_and_key_only() -> None:
    made = cursor.encode(KEY, Query("a"), ["x"])
    assert made is not None
    for key, query in ((KEY, Query("b", cursor=made)), (b"o" * 32, Query("a", cursor=made)),
                       (KEY, Query("a", cursor=made[:-1])),
                       (KEY, Query("a", cursor=made + "A"))):  # fmt: skip
        with pytest.raises(RequestError):
            cursor.decode(key, query)
    assert cursor.encode(KEY, Query("a"), ["x" * 100_000]) is None


@pytest.mark.parametrize("kind", ["", "1", "a/b", "a" * 101, "a\n", None, 3, "é"])
def test_bad_kinds(kind: object) -> None:
    with pytest.raises(RequestError):
        check_kind(kind)


@pytest.mark.parametrize("id", ["", "a" * 501, "a\0", "a\n", "\ud800", None, 3])
def test_bad_ids(id: object) -> None:
    with pytest.raises(RequestError):
        check_id(id)


@pytest.mark.parametrize(
    "value",
    [
        [], "x", 1, None, {"a": float("nan")}, {"a": float("inf")}, {"a": 2**63}, {"a": -(2**63) - 1},
        {"a": "\0"},
        {"\ud800": 1}, {"a": ["\udfff"]}, {"a": b"x"}, {"a": {1}}, {1: 2, (3, 4): 5},
    ],
)  # fmt: skip
def test_bad_values(value: object) -> None:
    with pytest.raises(RequestError):
        encode(value)


def test_bounds() -> None:
    with pytest.raises(RequestError) as caught:
        encode({"a": "é" * (MAX_RECORD // 2)})
    assert caught.value.status == 413
    deep: Any = {}
    for _ in range(40):
        deep = {"a": deep}
    with pytest.raises(RequestError, match="deeper"):
        encode(deep)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'{"a":NaN}',
        b'{"a":1e999}',
        b"[" * 100_000,
        b'{"a":"\\ud800"}',
        b"1" * 5000,
        b"\xef\xbb\xbf{}",
    ],
)
def test_bodies_that_are_no_json(body: bytes) -> None:
    with pytest.raises(RequestError):
        parse(body)


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_parsed_or_refused(body: bytes) -> None:
    try:
        value = parse(body)
    except RequestError:
        return
    assert json.loads(json.dumps(value)) == value


def test_index_files(tmp_path: Path) -> None:
    file = tmp_path / "index.yaml"
    with pytest.raises(MissingError):
        load(file)
    for text in ("", "indexes:", "indexes: []"):
        file.write_text(text)
        assert load(file) == []
    file.write_text("indexes:\n- kind: a\n  properties: [b, {name: c.d, direction: desc}]\n")
    (index,) = load(file)
    assert [(key.property, key.descending) for key in index.properties] == [("b", False), ("c.d", True)]
    for text in ("[", "a: 1", "indexes: 1", "indexes: [{kind: a}]", "indexes: [{kind: a, properties: []}]",
                 "indexes: [{kind: a, properties: [{name: b, direction: up}]}]", "- 1",
                 "indexes: [{kind: a, properties: [\"b'\"]}]",
                 "&a [*a", "[" * 10000, "indexes: [{kind: 1, properties: [a]}]"):  # fmt: skip
        file.write_text(text)
        with pytest.raises(ConfigError, match=r"index\.yaml"):
            load(file)
