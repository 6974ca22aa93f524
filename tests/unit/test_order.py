from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.supervisor.order import CycleError, ordered


def test_dependencies_come_first_and_the_rest_keeps_its_order() -> None:
    assert ordered({"a": ["c"], "b": [], "c": ["b"], "d": []}) == ["b", "c", "a", "d"]


def test_a_cycle_is_named_from_its_first_to_its_first() -> None:
    with pytest.raises(CycleError) as caught:
        ordered({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]})
    assert caught.value.cycle == ["a", "b", "c", "a"]


def test_itself() -> None:
    with pytest.raises(CycleError) as caught:
        ordered({"a": ["a"]})
    assert caught.value.cycle == ["a", "a"]


def test_a_long_chain_needs_no_recursion() -> None:
    chain = {str(i): [str(i + 1)] for i in range(20000)}
    assert ordered(chain)[-1] == "0"


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefg"), max_size=3)))
def test_every_graph_is_ordered_or_has_a_real_cycle(graph: dict[str, list[str]]) -> None:
    try:
        order = ordered(graph)
    except CycleError as error:
        assert error.cycle[0] == error.cycle[-1]
        assert all(
            after in graph[before] for before, after in zip(error.cycle, error.cycle[1:], strict=False)
        )
        return
    assert sorted(order) == sorted(graph)
    for name, needs in graph.items():
        assert all(order.index(need) < order.index(name) for need in needs if need in graph)
