from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.config import LimitsConfig
from lib.errors import ConfigError
from lib.services.limits import make_limits
from lib.size import LARGEST, UNITS, size
from lib.supervisor.spec import Limits


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("4096", 4096), ("1k", 1024), ("200M", 200 * 1024**2), ("1G", 1024**3), ("2 TiB", 2 * 1024**4),
     (" 3mb ", 3 * 1024**2), (7, 7), ("5B", 5)],
)  # fmt: skip
def test_sizes(text: str | int, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize(
    "text", ["", "M", "-1", "1.5G", "1 0", "1e3", "1GG", "0x10", "٣M", "9999999T", -1, LARGEST + 1]
)
def test_what_is_no_size(text: str | int) -> None:
    with pytest.raises(ConfigError, match="is not a size"):
        size(text)


@given(st.text() | st.integers() | st.from_regex(r"[0-9]{1,25} ?[kmgtKMGT]?i?[bB]?", fullmatch=True))
def test_any_value_is_a_size_or_an_error(value: str | int) -> None:
    try:
        assert 0 <= size(value) <= LARGEST
    except ConfigError as error:
        assert len(error.message) < 200


@given(st.integers(0, 1024), st.sampled_from(sorted(UNITS)))
def test_units(count: int, unit: str) -> None:
    assert size(f"{count}{unit}") == size(f"{count} {unit.upper()}") == count * UNITS[unit]


def test_the_limits_of_a_service() -> None:
    assert make_limits(LimitsConfig()) == Limits()
    found = make_limits(
        LimitsConfig(memory="1M", files=10, processes=20, core="0", file_size="1k", cpu_time="1m", nice=-5,
                     umask="0027", user="me", group="us")
    )  # fmt: skip
    assert found == Limits(
        rlimits={"nofile": 10, "nproc": 20, "core": 0, "fsize": 1024, "cpu": 60}, memory=1024**2, nice=-5,
        umask=0o027, user="me", group="us",
    )  # fmt: skip
