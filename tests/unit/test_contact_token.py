"""lib/contact/token.py: only the contact process's own word for who calls is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.contact import token
from lib.contact.token import Caller

SECRET = b"a" * 64
WHO = Caller("host-7", "A" * 43 + "=", "user-23", "B" * 43 + "=")


def test_what_was_written_is_read() -> None:
    assert token.read(token.write(WHO, SECRET), SECRET) == WHO


def test_of_another_instance_or_too_old_or_from_the_future() -> None:
    value = token.write(WHO, SECRET, now=1000)
    assert token.read(value, SECRET, now=1000 + token.LIFETIME) == WHO
    assert token.read(value, b"b" * 64, now=1000) is None
    assert token.read(value, SECRET, now=1001 + token.LIFETIME) is None
    assert token.read(value, SECRET, now=999 - token.LIFETIME) is None


@pytest.mark.parametrize("part", range(6))
def test_every_word_is_signed(part: int) -> None:
    words = token.write(WHO, SECRET, now=1000).split(" ")
    words[part] = words[part][:-1] + ("2" if words[part][-1] != "2" else "3")
    assert token.read(" ".join(words), SECRET, now=1000) is None


@given(st.text(max_size=500))
def test_nothing_else_is_a_caller(value: str) -> None:
    assert token.read(value, SECRET) is None
