from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.duration import seconds
from lib.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [("500ms", 0.5), ("10s", 10), ("5m", 300), ("1h", 3600), ("7d", 604800), ("1h30m", 5400), ("2.5s", 2.5),
     ("0", 0), ("1.5", 1.5), (3, 3), (0.25, 0.25), (" 1s ", 1)],
)  # fmt: skip
def test_good(text: str | float, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "s", "10 s", "-1s", "1x", "1s!", "٣s", "1e3", "nan", -1, math.nan,
                                  math.inf, "99999999999d", "1" * 400])  # fmt: skip
def test_bad(text: str | float) -> None:
    with pytest.raises(ConfigError, match="not a duration"):
        seconds(text)


@given(st.text() | st.floats() | st.from_regex(r"[0-9.]{1,20}(ms|s|m|h|d)?", fullmatch=True))
def test_any_input_gives_a_number_or_our_error(value: str | float) -> None:
    try:
        assert 0 <= seconds(value) < 1e12
    except ConfigError as error:
        assert error.hint
