"""URL#FINGERPRINT, as it is pasted."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.hubclient.reference import check_url, parse_reference
from lib.errors import UsageError

MARK = "A" * 43


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (f"https://hub.example#{MARK}", "https://hub.example"),
        (f" https://hub.example:8443/#{MARK}\n", "https://hub.example:8443"),
        (f"https://[2001:db8::1]:8443/a/b/#{MARK}", "https://[2001:db8::1]:8443/a/b"),
        (f"http://127.0.0.1:8150#{MARK}", "http://127.0.0.1:8150"),
        (f"http://[::1]:8150#{MARK}", "http://[::1]:8150"),
        (f"http://localhost:8150#{MARK}", "http://localhost:8150"),
    ],
)
def test_what_is_taken(text: str, url: str) -> None:
    reference = parse_reference(text)
    assert (reference.url, reference.fingerprint) == (url, MARK)
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        "local",
        "https://hub.example",
        "https://hub.example#",
        "https://hub.example#short",
        f"https://hub.example#{MARK}A",
        f"https://hub.example#{'+' * 43}",
        f"http://hub.example#{MARK}",
        f"http://127.0.0.1.evil.example#{MARK}",
        f"http://localhost.evil.example#{MARK}",
        f"http://127.0.0.1@evil.example#{MARK}",
        f"https://user:secret@hub.example#{MARK}",
        f"ftp://hub.example#{MARK}",
        f"file:///etc/passwd#{MARK}",
        f"https://#{MARK}",
        f"https://hub.example:0#{MARK}",
        f"https://hub.example:70000#{MARK}",
        f"https://hub.example:x#{MARK}",
        f"https://hub.example/?a=b#{MARK}",
        f"https://hub example#{MARK}",
        f"https://hub.example\r\nHost: evil#{MARK}",
        f"https://[::1#{MARK}",
    ],
)
def test_what_is_not(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert "secret" not in caught.value.message


@given(st.text(max_size=80))
def test_anything_else_is_a_usage_error(text: str) -> None:
    for each in (text, f"https://{text}#{MARK}", f"http://{text}"):
        with suppress(UsageError):
            parse_reference(each)
        with suppress(UsageError):
            check_url(each)
