"""Queries as SQLite's SQL. Owns the expressions, which indexes and queries must have letter by letter alike.

A property is two columns: the rank of its type, and its value. So filters compare within one type and no
column is ever NULL, which lets a page start be one row comparison that an index answers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from lib.zerodata.query import Filter, Order, Query, Scalar

Parameter = str | int | float


def rank_of(value: object) -> int:
    """The rank of a JSON value's type: how values of different types compare."""
    types: tuple[tuple[type, ...], ...] = ((type(None),), (bool,), (int, float), (str,), (list, tuple))
    return next((rank for rank, kinds in enumerate(types) if isinstance(value, kinds)), 5)


def rank(name: str) -> str:
    """The expression of a property's rank; missing is as null. `name` was checked by check_property."""
    if name == "@id":
        return "+3"
    return (
        f"CASE json_type(value,'{path(name)}') WHEN 'true' THEN 1 WHEN 'false' THEN 1 WHEN 'integer' THEN 2"
        " WHEN 'real' THEN 2 WHEN 'text' THEN 3 WHEN 'array' THEN 4 WHEN 'object' THEN 5 ELSE 0 END"
    )


def content(name: str) -> str:
    """The expression of a property's value; 0 for null."""
    return "id" if name == "@id" else f"ifnull(json_extract(value,'{path(name)}'),0)"


def path(name: str) -> str:
    """The JSON path of a dotted name."""
    return "$" + "".join(f'."{part}"' for part in name.split("."))


def columns(order: Sequence[Order], filters: Sequence[Filter] = ()) -> list[tuple[str, bool]]:
    """What rows are sorted by: (expression, descending); the id, in the last key's direction, ends it.

    What the filters make the same in all rows is left out: SQLite would not see it and would sort again.
    """
    same = {filter.property for filter in filters if filter.operator == "="}
    same_type = {filter.property for filter in filters if filter.operator in ("<", "<=", ">", ">=", "prefix")}
    found: list[tuple[str, bool]] = []
    for key in order:
        if key.property == "@id":
            return [*found, ("id", key.descending)]
        if key.property in same:
            continue
        if key.property not in same_type:
            found.append((rank(key.property), key.descending))
        found.append((content(key.property), key.descending))
    return [*found, ("id", bool(order) and order[-1].descending)]


def condition(filter: Filter) -> tuple[str, list[Parameter]]:
    """The SQL of one filter, and its parameters."""
    name, value = filter.property, filter.value
    if filter.operator == "in":
        assert isinstance(value, tuple)  # noqa: S101 -- make_filter made it so
        parts = [condition(Filter(name, "=", item)) for item in value]
        return "(" + " OR ".join(part for part, _ in parts) + ")", [one for _, some in parts for one in some]
    assert not isinstance(value, tuple)  # noqa: S101 -- make_filter made it so
    ranked = f"{rank(name)}={rank_of(value)}"
    if value is None:
        return (ranked if filter.operator == "=" else f"NOT {ranked}"), []
    marker, bound = parameter(value)
    if filter.operator == "prefix":
        text, end = str(value), after_prefix(str(value))
        if end is None:
            return f"({ranked} AND {content(name)}>=?)", [text]
        return f"({ranked} AND {content(name)}>=? AND {content(name)}<?)", [text, end]
    if filter.operator == "!=":
        return f"NOT ({ranked} AND {content(name)}={marker})", [bound]
    return f"({ranked} AND {content(name)}{filter.operator}{marker})", [bound]


def parameter(value: Scalar) -> tuple[str, Parameter]:
    """The marker and the bound parameter of a value that is compared with a stored one."""
    if isinstance(value, float):
        # SQLite reads numbers of JSON text with its own routine, which may differ in the last bit from
        # Python's: both sides of the comparison must have gone the same way.
        return "json_extract(?,'$')", json.dumps(value)
    assert value is not None  # noqa: S101 -- null has no parameter
    return "?", int(value) if isinstance(value, bool) else value


def after_prefix(text: str) -> str | None:
    """The least string that is greater than all with this prefix; None when there is none."""
    while text:
        code = ord(text[-1]) + 1
        if code <= 0x10FFFF:
            return text[:-1] + chr(0xE000 if code == 0xD800 else code)
        text = text[:-1]
    return None


def start(keys: Sequence[tuple[str, bool]], position: Sequence[Parameter]) -> tuple[str, list[Parameter]]:
    """The condition that a row comes after `position`, the values of `keys` in the last row seen."""
    if len({descending for _, descending in keys}) == 1:
        sign = "<" if keys[0][1] else ">"
        markers = ",".join("?" * len(keys))
        return f"({','.join(key for key, _ in keys)}){sign}({markers})", list(position)
    parts: list[str] = []
    bound: list[Parameter] = []
    for index, (key, descending) in enumerate(keys):
        same = "".join(f"{earlier}=? AND " for earlier, _ in keys[:index])
        parts.append(f"({same}{key}{'<' if descending else '>'}?)")
        bound += position[: index + 1]
    return "(" + " OR ".join(parts) + ")", bound


def select(query: Query, position: Sequence[Parameter] | None) -> tuple[str, list[Parameter]]:
    """The statement of one page and a row more; its columns: id, version, value, then what is sorted by."""
    keys = columns(query.order, query.filters)
    where: list[str] = ["kind=?"]
    bound: list[Parameter] = [query.kind]
    for filter in query.filters:
        text, more = condition(filter)
        where.append(text)
        bound += more
    if position is not None:
        text, more = start(keys, position)
        where.append(text)
        bound += more
    shown = ",".join(key for key, _ in keys)
    sorted_by = ",".join(f"{key} DESC" if descending else key for key, descending in keys)
    # Every text in it is ours or was matched against PROPERTY; all values are parameters.
    statement = f"SELECT id,version,value,{shown} FROM records WHERE {' AND '.join(where)}"  # noqa: S608
    return f"{statement} ORDER BY {sorted_by} LIMIT ?", [*bound, query.limit + 1]
