from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import envfile
from lib.errors import ConfigError, MissingError


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("A=1\nexport B=2", {"A": "1", "B": "2"}),
        ("# c\n\nA=x y # comment\nB=a#b", {"A": "x y", "B": "a#b"}),
        ("A='$HOME ${B}'\nB=$A\nC=\"${A}\"", {"A": "$HOME ${B}", "B": "$A", "C": "${A}"}),
        ('A="two\nlines"\nB="\\n"', {"A": "two\nlines", "B": "\n"}),
        ("A=", {"A": ""}),
        ("A=1\r\nA=2\r\n", {"A": "2"}),
        ("\ufeffA=1", {"A": "1"}),
    ],
)
def test_good(text: str, variables: dict[str, str]) -> None:
    assert envfile.parse(text.encode(), "f") == variables


@pytest.mark.parametrize(
    ("text", "where"),
    [("A=1\n\nnot a line", "f:3:"), ("A", "f:1: 'A' has no value"), ("A='secret", "f:1:"), ("=x", "f:1:"),
     ("A=1\nB=\0", "f:2:")],
)  # fmt: skip
def test_bad(text: str, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        envfile.parse(text.encode(), "f")
    assert caught.value.message.startswith(where)
    assert "secret" not in caught.value.message + caught.value.hint


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        envfile.load(tmp_path / ".env")


@given(st.binary(max_size=200) | st.text(alphabet="AB='\"\\nx# \n$").map(str.encode))
def test_any_bytes(raw: bytes) -> None:
    try:
        variables = envfile.parse(raw, "f")
    except ConfigError as caught:
        assert caught.message.startswith("f:")
    else:
        assert all(name and "\0" not in name + value for name, value in variables.items())
