from __future__ import annotations

import base64
import contextlib
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys import keyfile
from keys.errors import PassphraseError, TrustError
from keys.keyfile import PrivateKey
from lib.errors import AmpzeroError, MissingError, StorageError, TakenError, UsageError

KEY = PrivateKey.generate()
PLAIN = KEY.encode()
SECRET = KEY.encode("correct horse")


@pytest.mark.parametrize("passphrase", ["", "correct horse", "pässwörd", "x" * 72])
def test_saved_and_loaded(tmp_path: Path, passphrase: str) -> None:
    path = tmp_path / "host-7.private.key"
    keyfile.save(path, KEY, passphrase)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert keyfile.load(path, passphrase).public == KEY.public
    header = keyfile.header(path.read_bytes())
    assert (header.encrypted, header.public) == (bool(passphrase), KEY.public)


def test_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"mine")
    with pytest.raises(TakenError, match="exists"):
        keyfile.save(path, KEY)
    assert path.read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_wrong_missing_and_needless_passphrases() -> None:
    with pytest.raises(PassphraseError, match="wrong passphrase"):
        keyfile.decode(SECRET, "other")
    with pytest.raises(PassphraseError, match="is encrypted"):
        keyfile.decode(SECRET)
    assert keyfile.decode(PLAIN, "needless").public == KEY.public
    with pytest.raises(UsageError, match="73 bytes"):
        KEY.encode("x" * 73)
    with pytest.raises(UsageError, match="74 bytes"):
        keyfile.decode(SECRET, "é" * 37)


@pytest.mark.parametrize("length", [0, 1, 34, 35, 36, 60, 120, 200, 300, len(PLAIN) - 20, len(PLAIN) - 2])
def test_truncated(tmp_path: Path, length: int) -> None:
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_bytes(PLAIN[:length])
    with pytest.raises(TrustError, match="not a whole Ed25519 private key") as caught:
        keyfile.load(path)
    assert caught.value.hint


def test_files_that_others_can_read(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keyfile.save(path, KEY)
    for mode in (0o644, 0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(AmpzeroError, match="other users") as caught:
            keyfile.load(path)
        assert caught.value.hint == f"chmod 600 {path}"


def test_missing_folders_and_long_files(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no key file"):
        keyfile.load(tmp_path / "none")
    with pytest.raises(StorageError):
        keyfile.load(tmp_path)
    long = tmp_path / "long"
    long.touch(0o600)
    long.write_bytes(PLAIN * 100)
    with pytest.raises(TrustError, match="too long"):
        keyfile.load(long)


def test_other_kinds_of_keys_are_refused() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    raw = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    with pytest.raises(TrustError, match="Ed25519"):
        keyfile.decode(raw)


def test_a_file_that_wants_endless_rounds_is_refused() -> None:
    lines = SECRET.split(b"\n")
    blob = base64.b64decode(b"".join(lines[1:-2]))
    at = blob.index(b"\0\0\0\x18", blob.index(b"bcrypt") + 10 + 16)
    evil = blob[:at] + b"\x7f\xff\xff\xff" + blob[at + 4 :]
    with pytest.raises(TrustError, match="rounds"):
        keyfile.decode(b"\n".join([lines[0], base64.b64encode(evil), *lines[-2:]]), "correct horse")


def test_the_secret_is_not_in_a_repr() -> None:
    assert repr(KEY) == f"PrivateKey({KEY.public.fingerprint})"


@given(st.integers(0, len(PLAIN) - 1), st.binary(min_size=1, max_size=3))
def test_a_damaged_file_gives_the_key_or_our_error(place: int, damage: bytes) -> None:
    raw = PLAIN[:place] + damage + PLAIN[place + len(damage) :]
    with contextlib.suppress(TrustError, PassphraseError):
        assert keyfile.decode(raw).public == KEY.public


@settings(max_examples=25)
@given(st.integers(0, len(SECRET) - 1), st.binary(min_size=1, max_size=3))
def test_a_damaged_encrypted_file_gives_the_key_or_our_error(place: int, damage: bytes) -> None:
    raw = SECRET[:place] + damage + SECRET[place + len(damage) :]
    with contextlib.suppress(TrustError, PassphraseError):
        assert keyfile.decode(raw, "correct horse").public == KEY.public


@given(st.binary(max_size=400))
def test_foreign_bytes_are_refused(raw: bytes) -> None:
    for content in (
        raw,
        b"%s\n%s\n%s" % (PLAIN[:35], base64.b64encode(b"openssh-key-v1\0" + raw), PLAIN[-34:]),
    ):
        with pytest.raises((TrustError, PassphraseError)):
            keyfile.decode(content)
