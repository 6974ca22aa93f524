"""Our SSHSIG signatures, checked by ssh-keygen."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from keys.keyfile import PrivateKey, load
from keys.ssh.signature import allowed_signer, sign, verifies


def verify(folder: Path, key: PrivateKey, message: bytes, signature: str, namespace: str = "test") -> int:
    allowed, made = folder / "allowed", folder / "signature"
    allowed.write_text(allowed_signer("user-1", key, "test"))
    made.write_text(signature)
    argv = ["ssh-keygen", "-Y", "verify", "-I", "user-1", "-n", namespace, "-f", str(allowed)]
    argv += ["-s", str(made)]
    return subprocess.run(argv, input=message, capture_output=True, check=False, timeout=60).returncode


@pytest.mark.parametrize("message", [b"", b"release\n", bytes(range(256)) * 500])
def test_ssh_keygen_accepts_our_signature(tmp_path: Path, message: bytes) -> None:
    key = PrivateKey.generate()
    assert verify(tmp_path, key, message, sign(key, message, "test")) == 0


def test_ssh_keygen_refuses_another_message_key_or_namespace(tmp_path: Path) -> None:
    key, other = PrivateKey.generate(), PrivateKey.generate()
    signature = sign(key, b"one", "test")
    assert verify(tmp_path, key, b"two", signature) != 0
    assert verify(tmp_path, other, b"one", signature) != 0
    assert verify(tmp_path, key, b"one", signature, "else") != 0
    assert verify(tmp_path, key, b"one", sign(key, b"one", "else")) != 0


def test_we_accept_what_ssh_keygen_signs_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "key"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(argv, check=True, timeout=60)
    key = load(path)
    made = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-q", "-f", str(path), "-n", "test"],
        input=b"text", capture_output=True, check=True, timeout=60,
    ).stdout.decode()  # fmt: skip
    assert verifies(key.public, b"text", made, "test")
    assert verifies(key.public, b"text", sign(key, b"text", "test"), "test")
    assert not verifies(key.public, b"other", made, "test")
    assert not verifies(key.public, b"text", made, "else")
    assert not verifies(PrivateKey.generate().public, b"text", made, "test")
    for wrong in ("", "garbage", made.replace("A", "B", 3), made[:-60], sign(key, b"text", "else")):
        assert not verifies(key.public, b"text", wrong, "test")


def test_ssh_keygen_finds_our_key_in_the_signature(tmp_path: Path) -> None:
    key = PrivateKey.generate()
    made, allowed = tmp_path / "signature", tmp_path / "allowed"
    made.write_text(sign(key, b"text", "test"))
    allowed.write_text(allowed_signer("user-1", key, "test"))
    argv = ["ssh-keygen", "-Y", "find-principals", "-f", str(allowed), "-s", str(made)]
    found = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "user-1"
