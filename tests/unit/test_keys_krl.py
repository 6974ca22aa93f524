"""The source of a revocation list: read back as it was written, garbage refused. sshd reads the list itself
in tests/process/test_keys_ssh.py."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import TrustError
from keys.keyfile import PrivateKey
from keys.ssh import krl
from keys.ssh.krl import Revoked

KEYS = [str(PrivateKey.generate().public) for _ in range(3)]
NOW = datetime(2026, 11, 20, tzinfo=UTC)


@given(
    st.frozensets(st.sampled_from(KEYS)),
    st.frozensets(st.tuples(st.sampled_from(KEYS), st.integers(0, (1 << 64) - 1)), max_size=20),
)
def test_it_is_read_back(keys: frozenset[str], certificates: frozenset[tuple[str, int]]) -> None:
    revoked = Revoked(keys, certificates)
    assert krl.parse(str(revoked).encode()) == revoked
    assert krl.render(revoked, NOW).startswith(b"SSHKRL\n\0")


@given(st.binary(min_size=1, max_size=300))
def test_garbage_is_refused(raw: bytes) -> None:
    with pytest.raises(TrustError):
        krl.parse(b"?" + raw)


@pytest.mark.parametrize("line", [
    "key", "key ", "key ssh-rsa AAAA", f"certificate {1 << 64} KEY", "certificate -1 KEY",
    "certificate 1", "certificate 01 KEY", "key KEY comment", "",
])  # fmt: skip
def test_bad_lines_are_named(line: str) -> None:
    with pytest.raises(TrustError):
        krl.parse(f"{line.replace('KEY', str(KEYS[0]))}\n".encode())


def test_there_is_an_end() -> None:
    with pytest.raises(TrustError, match="more than"):
        krl.parse(f"certificate 1 {KEYS[0]}\n".encode() * (krl.MAX_ENTRIES + 1))
    with pytest.raises(TrustError, match="more than"):
        krl.parse(b"x" * (krl.MAX_FILE + 1))
    with pytest.raises(TrustError, match="more than"):
        many = frozenset((KEYS[0], serial) for serial in range(krl.MAX_ENTRIES + 1))
        krl.render(Revoked(certificates=many), NOW)
