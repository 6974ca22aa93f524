from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from keys import note
from keys.errors import TrustError
from keys.keyfile import PrivateKey
from keys.note import MAX_SIGNATURES, Verifier
from keys.publickey import PublicKey

# https://c2sp.org/signed-note, "Verifier keys", "Example".
SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Z"
    "tg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# https://pkg.go.dev/golang.org/x/mod/sumdb/note: the key pair and the note of its documentation.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
GO_NOTE = (
    GO_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6"
    "RyyBwJnAM=\n"
)
CONTROLS = [chr(code) for code in range(32)]
A, B = PrivateKey.generate(), PrivateKey.generate()


def test_the_specifications_example_verifies() -> None:
    verifier = Verifier.parse(SPEC_KEY)
    assert str(verifier) == SPEC_KEY
    parsed = note.parse(SPEC_NOTE.encode())
    assert parsed.verify([verifier]) == [verifier]
    assert parsed.text == "This is an example message.\n"
    assert str(parsed) == SPEC_NOTE


def test_the_go_librarys_example_is_made_to_the_letter() -> None:
    key = PrivateKey(Ed25519PrivateKey.from_private_bytes(GO_SEED))
    assert str(Verifier("PeterNeumann", key.public)) == GO_KEY
    assert str(note.sign(GO_TEXT, [("PeterNeumann", key)])) == GO_NOTE
    assert note.parse(GO_NOTE).verify([Verifier.parse(GO_KEY)])


def test_several_signatures_and_unknown_ones() -> None:
    signed = note.parse(str(note.sign("text\n", [("a", A), ("b", B), ("a", B)])))
    a, b = Verifier("a", A.public), Verifier("b", B.public)
    assert signed.verify([b, a]) == [a, b]
    assert signed.verify([a]) == [a]
    with pytest.raises(TrustError, match="not signed by c"):
        signed.verify([Verifier("c", A.public)])
    with pytest.raises(TrustError, match="not signed"):
        signed.verify([])


def test_a_wrong_signature_of_a_known_key_spoils_the_note() -> None:
    signed = str(note.sign("text\n", [("a", A), ("b", B)])).replace("text", "test", 1)
    with pytest.raises(TrustError, match=r"signature of a .* is wrong"):
        note.parse(signed).verify([Verifier("a", A.public)])
    mixed = note.Note(
        "text\n", (note.sign("text\n", [("a", A)]).signatures[0], note.parse(signed).signatures[1])
    )
    assert mixed.verify([Verifier("a", A.public), Verifier("b", B.public)])
    bad = note.Signature("b", Verifier("b", B.public).key_id, bytes(64))
    with pytest.raises(TrustError, match="signature of b"):
        note.Note("text\n", (*mixed.signatures[:1], bad)).verify(
            [Verifier("a", A.public), Verifier("b", B.public)]
        )


def test_the_text_may_hold_empty_lines() -> None:
    for text in ("\n", "a\n\nb\n", "a\n\n", "\n\n\n", "— a b\n\n— c d\n"):
        signed = str(note.sign(text, [("a", A)]))
        assert note.parse(signed).text == text
        assert note.parse(signed).verify([Verifier("a", A.public)])


@pytest.mark.parametrize(
    "broken",
    [
        "", "\n", "text\n", "text\n\n", "text\n\n\n", "text\n\n— a\n", "text\n\n- a AAAAAAAA\n",
        "text\n\n— a b c\n",
        "text\n\n— a AAAAAA==\n", "text\n\n—  AAAAAAAA\n", "text\n\n— a+b AAAAAAAA\n", "text\n\n— a AAAAAAA=",
        "text\n\n— a AAAAAAB=\n", "te\txt\n\n— a AAAAAAAA\n", "text\r\n\r\n— a AAAAAAAA\r\n",
        "text\n\n— a\u2003b AAAAAAAA\n", "text\n\n— a AAAAAAAA\nrest\n", "x" * 5000 + "\n\n— a AAAAAAAA\n",
        "é" * 2100 + "\n\n— a AAAAAAAA\n", "te\ud800xt\n\n— a AAAAAAAA\n",
    ],
)  # fmt: skip
def test_malformed_notes(broken: str) -> None:
    with pytest.raises(TrustError):
        note.parse(broken)
    with pytest.raises(TrustError):
        note.parse(broken.encode(errors="surrogatepass"))


def test_the_number_of_signatures_is_bounded() -> None:
    line = "— a AAAAAAAA\n"
    assert len(note.parse("text\n\n" + line * MAX_SIGNATURES).signatures) == MAX_SIGNATURES
    for more in (1, 2, 3, 50):
        with pytest.raises(TrustError):
            note.parse("text\n\n" + line * (MAX_SIGNATURES + more))


@pytest.mark.parametrize(
    "line",
    [
        "", "a", "a+b", "a+00000000+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", SPEC_KEY[:-1],
        SPEC_KEY + "A",
        SPEC_KEY.replace("+Aek", "+Bek"), SPEC_KEY.replace("foo", "fo o"), "+" + SPEC_KEY, "x" * 1000,
    ],
)  # fmt: skip
def test_malformed_verifier_keys(line: str) -> None:
    with pytest.raises(TrustError):
        Verifier.parse(line)


def test_keys_that_share_a_name_and_an_id_are_refused() -> None:
    class Same(Verifier):
        @property
        def key_id(self) -> bytes:
            return b"same"

    with pytest.raises(TrustError, match="share a key id"):
        note.sign("text\n", [("a", A)]).verify([Same("a", A.public), Same("a", B.public)])


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters=CONTROLS), max_size=200))
def test_what_is_signed_is_parsed_again(text: str) -> None:
    signed = str(note.sign(text + "\n", [("a", A), ("b", B)]))
    parsed = note.parse(signed.encode())
    assert parsed.text == text + "\n"
    assert str(parsed) == signed
    assert len(parsed.verify([Verifier("a", A.public), Verifier("b", B.public)])) == 2


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_foreign_bytes_give_a_note_or_a_trust_error(raw: bytes | str) -> None:
    for end in (b"", b"\n\n\xe2\x80\x94 a AAAAAAAA\n"):
        try:
            parsed = note.parse(raw + (end if isinstance(raw, bytes) else end.decode()))  # type: ignore[operator] # same kinds
        except TrustError:
            continue
        assert note.parse(str(parsed)) == parsed


@given(st.integers(0, len(GO_NOTE.encode()) - 1), st.integers(1, 255))
def test_a_note_with_one_changed_byte_is_refused(place: int, change: int) -> None:
    raw = bytearray(GO_NOTE.encode())
    raw[place] ^= change
    with pytest.raises(TrustError):
        note.parse(bytes(raw)).verify([Verifier.parse(GO_KEY)])


@given(st.text(max_size=120))
def test_foreign_key_lines_are_refused(line: str) -> None:
    for text in (line, f"ssh-ed25519 {line}"):
        with pytest.raises(TrustError):
            PublicKey.parse(text)
    assert PublicKey.parse(str(A.public)) == A.public
