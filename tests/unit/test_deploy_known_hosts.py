"""known_hosts lines, host certificates and addresses: the words of the formats, and any bytes at all."""

from __future__ import annotations

import base64
import hmac
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy import channel
from deploy.transport.hostcertificate import CERTIFICATE, certified_by
from deploy.transport.knownhosts import AUTHORITY, HostKey, KnownHosts
from deploy.transport.settings import Settings
from deploy.transport.target import resolve
from lib.errors import ConfigError, RefusedError

KEY, OTHER = HostKey("ssh-ed25519", b"one key"), HostKey("ssh-rsa", b"another key")


def hashed(name: str) -> str:
    digest = hmac.digest(b"salt", name.encode(), "sha1")
    return f"|1|{base64.b64encode(b'salt').decode()}|{base64.b64encode(digest).decode()}"


def trusts(folder: Path, lines: str, host: str = "web.example", port: int = 22) -> bool:
    (folder / "known").write_text(lines)
    try:
        KnownHosts([folder / "known"]).verify(host, port, KEY)
    except RefusedError:
        return False
    return True


@pytest.mark.parametrize("names, port, good", [
    ("web.example", 22, True), ("WEB.Example", 22, True), ("db.example,web.example", 22, True),
    ("*.example", 22, True), ("w?b.example", 22, True), ("*", 22, True), ("web", 22, False),
    ("*.example,!web.example", 22, False), ("!web.example,*", 22, False), ("!db.example", 22, False),
    ("[web.example]:2222", 2222, True), ("[web.example]:2222", 22, False), ("[*.example]:*", 2222, True),
    ("web.example", 2222, True), ("[web.example]:22", 22, False), ("w[e]b.example", 22, False),
    (hashed("web.example"), 22, True), (hashed("db.example"), 22, False),
    (hashed("[web.example]:2222"), 2222, True), ("|1|bad|bad", 22, False), ("|1|", 22, False),
])  # fmt: skip
def test_the_names_of_a_line(tmp_path: Path, names: str, port: int, good: bool) -> None:
    assert trusts(tmp_path, f"{names} {KEY} a comment\n", port=port) is good


def test_one_of_several_keys_is_enough(tmp_path: Path) -> None:
    assert trusts(tmp_path, f"web.example {OTHER}\n\n# web.example x\nweb.example {KEY}\n")


def test_a_revoked_key_is_not_trusted_though_another_line_does(tmp_path: Path) -> None:
    assert not trusts(tmp_path, f"web.example {KEY}\n@revoked * {KEY}\n")


def test_an_authoritys_key_is_not_a_hosts(tmp_path: Path) -> None:
    assert not trusts(tmp_path, f"@cert-authority * {KEY}\n")


def test_a_marker_that_is_not_known_says_nothing(tmp_path: Path) -> None:
    assert not trusts(tmp_path, f"@new-marker * {KEY}\n")


def test_the_types_of_known_keys_come_first(tmp_path: Path) -> None:
    (tmp_path / "known").write_text(
        f"web.example {OTHER}\n@cert-authority *.example {KEY}\n@revoked * {KEY}\n"
    )
    assert KnownHosts([tmp_path / "known"]).kinds("web.example", 22) == [OTHER.kind, AUTHORITY]


def test_a_change_is_not_told_as_an_unknown_key(tmp_path: Path) -> None:
    (tmp_path / "known").write_text(f"# first\nweb.example {OTHER}\n")
    with pytest.raises(RefusedError, match=r"changed: SHA256:.*known:2\), it shows ssh-ed25519 SHA256:"):
        KnownHosts([tmp_path / "known"]).verify("web.example", 22, KEY)


WORDS = st.text(max_size=5) | st.sampled_from(
    [
        "@revoked",
        "@cert-authority",
        "*",
        "!*",
        "|1|",
        "|1|YQ==|YQ==",
        "web.example",
        "ssh-rsa",
        "YQ==",
        "=",
        "#",
    ]
)


@given(st.lists(WORDS, max_size=20))
def test_any_lines_trust_no_key_that_is_not_in_them(words: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert not trusts(Path(folder), " ".join(words))


@given(
    st.binary(max_size=300), st.sampled_from(["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "nonsense"])
)
def test_any_bytes_are_no_host_certificate(blob: bytes, kind: str) -> None:
    for head in (b"", b"\0\0\0" + bytes([len(kind + CERTIFICATE)]) + (kind + CERTIFICATE).encode()):
        with pytest.raises(RefusedError):
            certified_by(kind + CERTIFICATE, head + blob, "web.example")


@given(st.binary(max_size=60), st.sampled_from([b"", b"\nampzero-agent ", b'\nampzero-agent ["need"', b"[["]))
def test_any_first_word_of_a_host_is_words_or_nothing(noise: bytes, mark: bytes) -> None:
    assert all(isinstance(word, str) for word in channel._word(noise + mark + noise + b"\n"))


@pytest.mark.parametrize("address, host, port, user", [
    ("web", "web", 22, None), ("me@web:2222", "web", 2222, "me"), ("10.0.0.1:1", "10.0.0.1", 1, None),
    ("[::1]:2222", "::1", 2222, None), ("a@[fe80::1%eth0]", "fe80::1%eth0", 22, "a"),
    ("ssh://me@web:22", "web", 22, "me"),
])  # fmt: skip
def test_an_address_is_taken_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, host: str, port: int, user: str | None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config").touch()
    found = resolve(address, Settings(config=tmp_path / "config"))
    assert (found.host, found.port) == (host, port)
    assert user is None or found.user == user


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_an_error(address: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config").touch()
        try:
            found = resolve(address, Settings(config=Path(folder) / "config"))
        except ConfigError:
            return
        assert found.host and "/" not in found.host and not found.host.startswith("-")
