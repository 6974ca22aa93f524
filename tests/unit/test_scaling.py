from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import scaling
from lib.config import Config, ServiceConfig
from lib.errors import UsageError
from lib.instance import Instance

NOW = st.dictionaries(st.sampled_from(["web", "mail", "a-b_c"]), st.integers(0, scaling.MOST), min_size=1)


@given(
    NOW,
    st.lists(st.text(max_size=12) | st.from_regex(r"(web|mail|a-b_c|no)=[+-]?[0-9]{1,4}", fullmatch=True)),
)
def test_wishes_are_numbers_in_range_or_an_error(now: dict[str, int], words: list[str]) -> None:
    before = dict(now)
    try:
        found = scaling.wishes(tuple(words), now)
    except UsageError as error:
        assert error.hint
    else:
        assert set(found) == {word.partition("=")[0] for word in words} <= set(now)
        assert all(0 <= count <= scaling.MOST for count in found.values())
    assert now == before


@given(NOW, st.integers(0, scaling.MOST), st.integers(0, 9999))
def test_what_a_wish_means(now: dict[str, int], count: int, step: int) -> None:
    name, is_now = next(iter(now.items()))
    assert scaling.wishes((f"{name}={count}",), now) == {name: count}
    for sign, meant in (("+", is_now + step), ("-", is_now - step)):
        if 0 <= meant <= scaling.MOST:
            assert scaling.wishes((f"{name}={sign}{step}",), now) == {name: meant}
        else:
            with pytest.raises(UsageError, match=re.escape(f"{name} cannot have {meant} processes")):
                scaling.wishes((f"{name}={sign}{step}",), now)


def test_wishes_add_up_from_left_to_right() -> None:
    assert scaling.wishes(("web=+1", "web=+2", "mail=4", "mail=-1"), {"web": 1, "mail": 9}) == {
        "web": 4,
        "mail": 3,
    }


@pytest.mark.parametrize(
    "word", ["", "web", "web=", "=4", "web=4.5", "web= 4", "web=٣", "WEB=1", "web=12345", "web=4\n"]
)
def test_what_is_no_wish(word: str) -> None:
    with pytest.raises(UsageError, match="does not say how many"):
        scaling.wishes((word,), {"web": 1})


def instance_in(folder: Path) -> Instance:
    (folder / "x/state").mkdir(parents=True)
    return Instance(name="x", root=folder, var_name="x", directory=folder, config_file=folder / "amprun.yaml",
                    config=Config())  # fmt: skip


def test_what_was_asked_for_is_kept_until_it_is_forgotten(tmp_path: Path) -> None:
    one = instance_in(tmp_path)
    chosen = {"web": ServiceConfig(command="a"), "mail": ServiceConfig(command="b", processes=2)}
    assert scaling.apply(one, chosen) == chosen
    scaling.remember(one, {"web": 4})
    scaling.remember(one, {"mail": 0, "gone": 3})
    assert {name: config.processes for name, config in scaling.apply(one, chosen).items()} == {
        "web": 4,
        "mail": 0,
    }
    scaling.forget(one)
    scaling.forget(one)
    assert scaling.apply(one, chosen) == chosen


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", '{"web": "4"}', '{"web": -1}', '{"web": 1001}', '{"web": true}', "\0", "\udcff"],
)
def test_a_file_that_is_not_ours_counts_as_empty(tmp_path: Path, content: str) -> None:
    one = instance_in(tmp_path)
    (one.state / "scale.json").write_bytes(content.encode(errors="surrogateescape"))
    assert scaling.read(one) == {}
