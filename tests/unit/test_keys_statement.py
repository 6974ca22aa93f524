from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import note, root, statement
from keys.errors import TrustError
from keys.keyfile import PrivateKey
from keys.note import Verifier
from keys.root import Root, root_name
from keys.statement import Control, Owner, Statement

NOW = datetime(2026, 11, 20, tzinfo=UTC)
HUB, SIGNING, USER, HOST = (PrivateKey.generate() for _ in range(4))
DIGEST = "pOj+ZuY3cMHGx37lOfVjwTFqtbfO1UmOsONcIaDRIEI="
SAID = Statement(
    id="host-7",
    hub="amphub.example",
    genesis=DIGEST,
    head=DIGEST,
    seq=3,
    signing=SIGNING.public,
    control=(Control(USER.public, "user-23"), Control(HOST.public, "host-7")),
    owner=Owner("user-23", DIGEST),
    index=41,
    issued=NOW,
    expires=datetime(2027, 2, 18, tzinfo=UTC),
)
VERIFIER = Verifier("amphub.example/keys", HUB.public)


def test_the_file_is_as_documented() -> None:
    assert SAID.text == (
        f"ampzero/key/v1\nid: host-7\nhub: amphub.example\ngenesis: {DIGEST}\nhead: {DIGEST}\nseq: 3\n"
        f"signing: {SIGNING.public}\ncontrol: {USER.public} user-23\ncontrol: {HOST.public} host-7\n"
        f"owner: user-23 {DIGEST}\nindex: 41\nissued: 2026-11-20T00:00:00Z\nexpires: 2027-02-18T00:00:00Z\n"
    )
    signed = statement.sign(SAID, HUB)
    assert signed.startswith(SAID.text + "\n— amphub.example/keys ")
    assert statement.verify(signed, VERIFIER) == SAID


def test_only_the_hubs_own_signature_counts() -> None:
    signed = statement.sign(SAID, USER)
    with pytest.raises(TrustError, match="not signed by"):
        statement.verify(signed, VERIFIER)
    with pytest.raises(TrustError, match=r"is of the hub amphub\.example"):
        statement.verify(statement.sign(SAID, HUB), Verifier("other.example/keys", HUB.public))


def test_stale_is_a_warning() -> None:
    assert SAID.warning(NOW) == ""
    assert SAID.warning(SAID.expires - timedelta(seconds=1)) == ""
    assert "stale since 2027-02-18" in SAID.warning(SAID.expires)
    assert SAID.warning(NOW - timedelta(minutes=5)) == ""
    assert "future" in SAID.warning(NOW - timedelta(minutes=6))
    assert statement.verify(statement.sign(SAID, HUB), VERIFIER)


def test_users_have_no_owner_and_hosts_have() -> None:
    for wrong in (
        replace(SAID, owner=None),
        replace(SAID, id="user-7"),
        replace(SAID, owner=Owner("host-1", DIGEST)),
    ):
        with pytest.raises(TrustError):
            statement.parse(statement.sign(wrong, HUB))
    user = replace(SAID, id="user-7", owner=None, signing=None)
    assert statement.verify(statement.sign(user, HUB), VERIFIER) == user


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seq: 3", "seq: 03"), ("seq: 3", "seq: -3"), ("index: 41", "index: 41 "),
        ("host-7\nhub", "host-07\nhub"),
        ("id: host-7\n", ""), ("amphub.example", "Amphub.example"), ("amphub.example", "a b"),
        ("T00:00:00Z\nexp", "T24:00:00Z\nexp"), ("2026-11-20", "2026-13-20"),
        (" user-23\ncontrol", "\ncontrol"),
        ("issued", "Issued"), ("41\n", "41\nnote: x\n"), ("41\n", "41\n\n"), ("v1", "v2"),
        ("seq: 3", "seq: ٣"), ("seq: 3", "seq: " + "9" * 30),
    ],
)  # fmt: skip
def test_other_spellings_are_refused(old: str, new: str) -> None:
    assert old in SAID.text
    signed = str(note.sign(SAID.text.replace(old, new, 1), [("amphub.example/keys", HUB)]))
    with pytest.raises(TrustError):
        statement.parse(signed)


RAW = statement.sign(SAID, HUB).encode()


@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_one_changed_byte_is_refused(place: int, change: int) -> None:
    raw = bytearray(RAW)
    raw[place] ^= change
    with pytest.raises(TrustError):
        statement.verify(bytes(raw), VERIFIER)


def make_root(*keys: PrivateKey, version: int = 1, threshold: int = 1) -> Root:
    return Root(
        version=version, origin="amphub.example", url="https://amphub.example", online=HUB.public,
        roots=tuple(key.public for key in keys), threshold=threshold, issued=NOW,
    )  # fmt: skip


def signed_root(given: Root, *signers: PrivateKey) -> str:
    return str(note.sign(given.text, [(root_name(given.origin), key) for key in signers]))


def test_a_root_is_signed_by_its_threshold() -> None:
    two = make_root(USER, HOST, threshold=2)
    assert root.verify(signed_root(two, USER, HOST)) == two
    assert root.verify(signed_root(two, USER, HOST)).verifier == VERIFIER
    with pytest.raises(TrustError, match="1 of 2"):
        root.verify(signed_root(two, USER))
    with pytest.raises(TrustError, match="1 of 2"):
        root.verify(signed_root(two, USER, USER))
    for wrong in (make_root(USER, USER), make_root(USER, threshold=2), make_root(USER, threshold=0),
                  make_root(USER, version=0), replace(two, url="ftp://x"),
                  replace(two, url="https://a b")):  # fmt: skip
        with pytest.raises(TrustError):
            root.verify(signed_root(wrong, USER, HOST))


def test_the_next_root_is_signed_by_both_versions() -> None:
    old, new = make_root(USER), make_root(HOST, version=2)
    assert root.verify(signed_root(new, USER, HOST), trusted=old) == new
    assert root.verify(signed_root(old, USER), trusted=old) == old
    for signers in ([HOST], [USER]):
        with pytest.raises(TrustError):
            root.verify(signed_root(new, *signers), trusted=old)
    for version in (1, 3):
        with pytest.raises(TrustError, match="does not follow"):
            root.verify(signed_root(make_root(HOST, version=version), USER, HOST), trusted=old)
