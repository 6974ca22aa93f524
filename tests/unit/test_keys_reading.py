"""Small files with a bound, and passphrases in files and pipes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keys.keyfile import check_passphrase
from keys.reading import read_passphrase, read_public, read_up_to
from lib.errors import AmpzeroError, MissingError, StorageError


def test_a_file_is_cut_one_byte_behind_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "note"
    assert read_up_to(path, 4) is None
    with pytest.raises(MissingError, match="no key file"):
        read_public(path, 4)
    path.write_bytes(b"123456789")
    assert read_up_to(path, 4) == read_public(path, 4) == b"12345"
    with pytest.raises(StorageError):
        read_up_to(tmp_path, 4)


def test_the_first_line_of_a_file_is_the_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    with pytest.raises(MissingError):
        read_passphrase(path)
    assert read_passphrase(None) == ""
    path.write_bytes("Grüße \xff\r\nmore\n".encode() + b"\xff")
    assert read_passphrase(str(path)) == "Grüße \xff"
    path.write_bytes(b"\xff\n")
    assert check_passphrase(read_passphrase(path)) == b"\xff"


def test_a_passphrase_may_come_by_a_pipe() -> None:
    """As `--passphrase-file <(pass show kickass)` gives it."""
    out, into = os.pipe()
    os.write(into, b"six random words\n")
    os.close(into)
    try:
        assert read_passphrase(f"/dev/fd/{out}") == "six random words"
    finally:
        os.close(out)


def test_a_private_passphrase_is_nobody_elses_to_read(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_text("secret\n")
    path.chmod(0o640)
    assert read_passphrase(path) == "secret"
    with pytest.raises(AmpzeroError, match="other users can read") as caught:
        read_passphrase(path, private=True)
    assert "secret" not in caught.value.message
    path.chmod(0o600)
    assert read_passphrase(path, private=True) == "secret"
