from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import ConfigError, MissingError, NotRunningError
from lib.signed import (
    HEADER_LIMIT,
    WINDOW,
    MemoryNonces,
    NonceStore,
    SignatureError,
    SignedClient,
    Signer,
    SqliteNonces,
    Verifier,
    read_secret,
    signature,
)

"""A busy machine is no failure."""
SECRET = b"5" * 64
NOW = 1_800_000_000.0
NONCE = "0" * 31 + "1"


def verifier(now: float = NOW) -> Verifier:
    return Verifier({"instance": SECRET}, MemoryNonces(), lambda: now)


def header(method: str = "PUT", target: str = "/a?b=1", body: bytes = b"x", secret: bytes = SECRET,
           key: str = "instance", now: float = NOW) -> str:  # fmt: skip
    return Signer(key, secret, lambda: now).header(method, target, body)


def test_a_signed_request_is_good_once() -> None:
    checker, sent = verifier(), header()
    assert checker.verify("PUT", "/a?b=1", sent, b"x") == "instance"
    with pytest.raises(SignatureError, match="received before"):
        checker.verify("PUT", "/a?b=1", sent, b"x")
    assert checker.verify("PUT", "/a?b=1", header(), b"x") == "instance"


def test_the_signature_is_the_documented_one() -> None:
    # Made with: printf 'GET\n/x\n1800000000\n0..1\nSHA256 OF NOTHING' | openssl dgst -sha256 -hmac 555...
    import subprocess

    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    made = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", SECRET.decode()],
        input=f"GET\n/x\n1800000000\n{NONCE}\n{empty}".encode(), capture_output=True, check=True,
    )  # fmt: skip
    assert signature(SECRET, "GET", "/x", "1800000000", NONCE, b"") == made.stdout.decode().split()[-1]


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [("GET", "/a?b=1", b"x"), ("PUT", "/a?b=2", b"x"), ("PUT", "/a", b"x"), ("PUT", "/a?b=1", b"y")],
)
def test_what_was_changed_on_the_way_is_refused(method: str, target: str, body: bytes) -> None:
    with pytest.raises(SignatureError, match="signature is wrong"):
        verifier().verify(method, target, header(), body)


def test_wrong_secret_and_unknown_key_look_alike() -> None:
    messages = []
    for sent in (header(secret=b"6" * 64), header(key="other")):
        with pytest.raises(SignatureError) as caught:
            verifier().verify("PUT", "/a?b=1", sent, b"x")
        messages.append((caught.value.message, caught.value.hint))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("off", [-WINDOW, WINDOW, 0])
def test_the_clocks_may_differ(off: int) -> None:
    assert verifier(NOW + off).verify("PUT", "/a?b=1", header(), b"x")


@pytest.mark.parametrize("off", [-WINDOW - 1, WINDOW + 1, 10**9])
def test_the_clocks_may_not_differ_more(off: int) -> None:
    with pytest.raises(SignatureError, match="s off"):
        verifier(NOW + off).verify("PUT", "/a?b=1", header(), b"x")


@given(st.text(max_size=400) | st.binary(max_size=400).map(lambda raw: raw.decode("latin-1")))
def test_any_text_as_header_is_refused(text: str) -> None:
    with pytest.raises(SignatureError):
        verifier().verify("PUT", "/a?b=1", text, b"x")


@given(st.data())
def test_a_header_with_anything_changed_is_refused(data: st.DataObject) -> None:
    sent = header()
    at = data.draw(st.integers(0, len(sent) - 1))
    put = data.draw(st.characters(max_codepoint=0x2000)) * data.draw(
        st.sampled_from([0, 1, 1, 2, HEADER_LIMIT])
    )
    changed = sent[:at] + put + sent[at + 1 :]
    if changed == sent:
        return
    with pytest.raises(SignatureError):
        verifier().verify("PUT", "/a?b=1", changed, b"x")


@pytest.mark.parametrize("sent", ["", None])
def test_no_header(sent: str | None) -> None:
    with pytest.raises(SignatureError, match="not signed"):
        verifier().verify("PUT", "/a?b=1", sent, b"x")


def test_a_bad_signature_takes_no_nonce() -> None:
    nonces = MemoryNonces(capacity=1)
    checker = Verifier({"instance": SECRET}, nonces, lambda: NOW)
    for _ in range(3):
        with pytest.raises(SignatureError, match="wrong"):
            checker.verify("PUT", "/a?b=1", header(secret=b"6" * 64), b"x")
    assert checker.verify("PUT", "/a?b=1", header(), b"x")


Maker = Callable[..., NonceStore]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Maker:
    if request.param == "memory":
        return MemoryNonces
    return lambda *arguments: SqliteNonces(tmp_path / "nonces.sqlite", *arguments)


class TestNonceStore:
    """What every NonceStore does."""

    def test_once(self, make: Maker) -> None:
        nonces = make()
        assert nonces.claim("a", NONCE, 1300, 1000)
        assert not nonces.claim("a", NONCE, 1300, 1001)
        assert nonces.claim("b", NONCE, 1300, 1001)
        assert nonces.claim("a", "f" * 32, 1300, 1001)
        nonces.close()

    def test_kept_until_its_end(self, make: Maker) -> None:
        nonces = make()
        assert nonces.claim("a", NONCE, 1300, 1000)
        assert not nonces.claim("a", NONCE, 1300, 1300)
        assert nonces.claim("a", NONCE, 1900, 1320)
        nonces.close()

    def test_full_refuses_and_recovers(self, make: Maker) -> None:
        nonces = make(2)
        assert nonces.claim("a", "1" * 32, 1300, 1000)
        assert nonces.claim("a", "2" * 32, 1300, 1000)
        with pytest.raises(SignatureError, match="too many"):
            nonces.claim("a", "3" * 32, 1300, 1000)
        assert nonces.claim("a", "3" * 32, 1700, 1320)
        nonces.close()

    def test_a_clock_that_goes_back(self, make: Maker) -> None:
        nonces = make()
        assert nonces.claim("a", NONCE, 1300, 1000)
        assert not nonces.claim("a", NONCE, 1300, 10)
        nonces.close()


def test_sqlite_nonces_outlive_the_store(tmp_path: Path) -> None:
    first = SqliteNonces(tmp_path / "n", 1)
    assert first.claim("a", NONCE, 1300, 1000)
    first.close()
    second = SqliteNonces(tmp_path / "n", 1)
    with pytest.raises(SignatureError):
        second.claim("a", "f" * 32, 1300, 1001)
    second.close()
    third = SqliteNonces(tmp_path / "n", 2)
    assert not third.claim("a", NONCE, 1300, 1001)
    assert (tmp_path / "n").stat().st_mode & 0o777 == 0o600
    third.close()


def test_secret_files(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    with pytest.raises(MissingError):
        read_secret(file)
    file.write_text("ab" * 32 + "\n")
    assert read_secret(file) == b"ab" * 32
    for text in ("", "ab" * 31, "zz" * 32, "AB" * 32, "a" * 5000, "é" * 64):
        file.write_text(text)
        with pytest.raises(ConfigError, match="64 hex digits"):
            read_secret(file)


@pytest.mark.parametrize(
    "url", ["", "unix:", "unix:x", "ftp://a", "http://", "http://a:b", "http://a/b", "http://[::1"]
)
def test_bad_base_urls(url: str) -> None:
    with pytest.raises(ConfigError, match="not a base URL"):
        SignedClient(url, Signer("a", SECRET))


def test_nobody_listens(tmp_path: Path) -> None:
    client = SignedClient(f"unix:{tmp_path}/none.sock", Signer("a", SECRET))
    with pytest.raises(NotRunningError, match="nothing listens"):
        client.request("GET", "/")
