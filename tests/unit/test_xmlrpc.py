"""XML-RPC documents against the standard library's own reader and writer."""

from __future__ import annotations

import xmlrpc.client
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.control.xmlrpc import NotACallError, answer, fault, parse_call

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=20)
SCALARS = (
    st.booleans() | st.integers(-(2**31), 2**31 - 1) | TEXT | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)


@given(st.lists(VALUES, max_size=4))
def test_calls_of_the_standard_library_are_read(params: list[Any]) -> None:
    document = xmlrpc.client.dumps(tuple(params), "a.b").encode()
    try:
        assert parse_call(document) == ("a.b", params)
    except NotACallError:
        assert document.count(b"<value>") > 8, "only what is deep may be refused"


@given(VALUES)
def test_answers_are_read_by_the_standard_library(value: Any) -> None:
    assert xmlrpc.client.loads(answer(value).decode())[0] == (value,)


def test_faults() -> None:
    with pytest.raises(xmlrpc.client.Fault) as found:
        xmlrpc.client.loads(fault(10, "BAD_NAME: <&>").decode())
    assert (found.value.faultCode, found.value.faultString) == (10, "BAD_NAME: <&>")


def test_what_xml_cannot_say_is_replaced() -> None:
    assert xmlrpc.client.loads(answer("a\0b\x1bc\ud800d\re\tf").decode())[0] == ("a?b?c?d\re\tf",)
    assert xmlrpc.client.loads(answer(2**40).decode())[0] == (2**31 - 1,)


@given(st.binary(max_size=200))
def test_garbage_is_no_call(document: bytes) -> None:
    with pytest.raises(NotACallError):
        parse_call(document)


CALL = "<methodCall><methodName>x</methodName><params>{}</params></methodCall>"


@pytest.mark.parametrize(
    "document",
    [
        "<!DOCTYPE x><methodCall/>", '<!DOCTYPE x SYSTEM "file:///etc/passwd"><methodCall/>',
        "<methodResponse/>",
        "<methodCall/>", "<methodCall><methodName>a b</methodName></methodCall>",
        CALL.format("<param><value><int>99999999999</int></value></param>"),
        CALL.format("<param><value><int>x</int></value></param>"),
        CALL.format("<param><value><boolean>2</boolean></value></param>"),
        CALL.format("<param><value><nil/></value></param>"), CALL.format("<param></param>"),
        CALL.format("<param>" + "<value><array><data>" * 20), CALL.format("<param/>" * 20_000),
        CALL.format("<param><value><struct><member><name>a</name></member></struct></value></param>"),
        CALL.format("<param><value><struct><int>5</int></struct></value></param>"),
        '<?xml version="1.0" encoding="utf-7"?>' + CALL.format(""),
        '<?xml version="1.0" encoding="x"?>' + CALL,
    ],
    ids=range(16),
)  # fmt: skip
def test_what_is_refused(document: str) -> None:
    with pytest.raises(NotACallError):
        parse_call(document.encode())


def test_a_value_without_a_type_is_a_string() -> None:
    assert parse_call(CALL.format("<param><value> a </value></param>").encode()) == ("x", [" a "])
    assert parse_call(CALL.format("<param><value/></param>").encode()) == ("x", [""])
