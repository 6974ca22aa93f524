"""What can be asked: filters, order and page. Owns the checks and the text form of a filter.

How values compare: null (and missing) < false < true < numbers < strings < arrays < objects. The filters
`<`, `<=`, `>`, `>=` and `prefix` match only values of the type that they name; `!=` is the opposite of `=`.
`@id` stands for the record's id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from lib.zerodata.record import RequestError, check_kind

OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "in", "prefix")
PROPERTY = re.compile(r"@id|[A-Za-z_][A-Za-z0-9_]{0,63}(\.[A-Za-z_][A-Za-z0-9_]{0,63}){0,7}")
TEXT_FILTER = re.compile(
    r"\s*(?P<name>@?[A-Za-z_][A-Za-z0-9_.]*)\s*"
    r"(?P<operator>!=|<=|>=|=|<|>|\bin\b|\bprefix\b)\s*(?P<value>.*?)\s*", re.DOTALL
)  # fmt: skip
MAX_FILTERS = 20
MAX_ORDER = 8
MAX_IN = 100
MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Filter:
    """`property operator value`; for `in` the value is a tuple."""

    property: str
    operator: str
    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True)
class Order:
    """One key of the order."""

    property: str
    descending: bool = False


@dataclass(frozen=True)
class Query:
    """A whole query; its answer is ordered by `order` and then by id."""

    kind: str
    filters: tuple[Filter, ...] = ()
    order: tuple[Order, ...] = ()
    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


def check_property(name: object) -> str:
    """`name` itself, when it names a property. Raises: RequestError."""
    if isinstance(name, str) and PROPERTY.fullmatch(name):
        return name
    raise RequestError(
        "a property's name is not valid", "letters, digits and _, with dots for a path; or @id"
    )


def make_filter(name: object, operator: object, value: object) -> Filter:
    """A checked Filter. Raises: RequestError."""
    checked = check_property(name)
    if operator not in OPERATORS:
        raise RequestError(
            f"{checked}: not an operator: {str(operator)[:20]!r}", f"one of {' '.join(OPERATORS)}"
        )
    if operator == "in":
        if not isinstance(value, (list, tuple)) or not 0 < len(value) <= MAX_IN:
            raise RequestError(f"{checked}: `in` wants a list of 1 to {MAX_IN} values")
        for item in value:
            _check_scalar(checked, item)
        return Filter(checked, "in", tuple(value))
    _check_scalar(checked, value)
    if value is None and operator not in ("=", "!="):
        raise RequestError(f"{checked}: null has no order", "use = or !=")
    if operator == "prefix" and not isinstance(value, str):
        raise RequestError(f"{checked}: `prefix` wants a string")
    return Filter(checked, str(operator), cast(Scalar, value))


def _check_scalar(name: str, value: object) -> None:
    if value is not None and not isinstance(value, (str, int, float, bool)):
        raise RequestError(f"{name}: only null, booleans, numbers and strings can be compared")


def make_order(key: object) -> Order:
    """`name` or, descending, `-name`. Raises: RequestError."""
    if not isinstance(key, str):
        raise RequestError("a key of the order is not a string")
    return Order(check_property(key.removeprefix("-")), key.startswith("-"))


def make_query(body: object) -> Query:
    """A checked Query of a request's JSON body. Raises: RequestError."""
    if not isinstance(body, Mapping):
        raise RequestError("a query is a JSON object")
    unknown = set(body) - {"kind", "filters", "order", "limit", "cursor"}
    if unknown:
        raise RequestError(f"unknown key in the query: {sorted(unknown)[0][:50]!r}")
    filters = _list(body, "filters", MAX_FILTERS)
    if not all(isinstance(item, list) and len(item) == 3 for item in filters):
        raise RequestError("a filter is a list of three: property, operator, value")
    order = tuple(make_order(key) for key in _list(body, "order", MAX_ORDER))
    if len({key.property for key in order}) < len(order):
        raise RequestError("a property stands twice in the order")
    limit, cursor = body.get("limit", DEFAULT_LIMIT), body.get("cursor")
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MAX_LIMIT:
        raise RequestError(f"the limit is not a whole number from 1 to {MAX_LIMIT}")
    if cursor is not None and not isinstance(cursor, str):
        raise RequestError("the cursor is not a string")
    return Query(
        check_kind(body.get("kind")), tuple(make_filter(*item) for item in filters), order, limit, cursor
    )


def _list(body: Mapping[str, Any], name: str, most: int) -> Sequence[Any]:
    value = body.get(name, [])
    if not isinstance(value, list) or len(value) > most:
        raise RequestError(f"{name} is not a list of {most} items at most")
    return value


def parse_filter(text: str) -> list[Any]:
    """`a>1`, `name prefix "x"`, `state in ["a","b"]` as [property, operator, value].

    The value is JSON; anything that is not JSON is a string, and so is all but a string where only one fits.

    Raises: RequestError.
    """
    match = TEXT_FILTER.fullmatch(text)
    if match is None or not match["value"]:
        raise RequestError(f"not a filter: {text[:100]!r}", "as in: a>1   name prefix x   state in [1,2]")
    try:
        value = json.loads(match["value"])
    except (ValueError, RecursionError):
        value = match["value"]
    wants_text = match["operator"] == "prefix" or (match["name"] == "@id" and match["operator"] != "in")
    if wants_text and not isinstance(value, str):
        value = match["value"]
    made = make_filter(match["name"], match["operator"], value)
    return [made.property, made.operator, list(made.value) if isinstance(made.value, tuple) else made.value]
