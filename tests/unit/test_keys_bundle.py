"""An exported identity: verified from its file alone, and no byte of it can be another."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keys_support import KeysPlace

from keys.errors import TrustError
from keys.lifecycle import bundle
from keys.lifecycle.bundle import Bundle
from keys.lifecycle.examine import examine
from keys.lifecycle.report import OK, OPEN, Report

NOW = datetime.now(UTC)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeysPlace:
    return KeysPlace(tmp_path / "place", monkeypatch)


def examined(found: Bundle, now: datetime = NOW) -> Report:
    report = Report()
    examine(found, report, now)
    return report


def exported(place: KeysPlace) -> Bundle:
    return bundle.decode(bundle.encode(bundle.from_hub(place.hub, place.folder, place.found)), "it")


def test_it_holds_and_explains_each_link(place: KeysPlace) -> None:
    place.do("rotate user --control")
    report = examined(exported(place))
    text = "\n".join(finding.text for finding in report.findings)
    assert report.problems == []
    links = ("root key", "hub ", "online key", "first operation", "operation 1: register",
             "operation 2: rotate", "statement of", "is entry 2 of the 4 in the", "owner ")  # fmt: skip
    places = [text.index(link) for link in links]
    assert places == sorted(places)
    found = place.found
    for key in (found.user.signing, found.host.signing, *(one.key for one in found.host.control)):
        assert key and key.fingerprint in text


def test_any_other_byte_in_a_note_is_found(place: KeysPlace) -> None:
    place.do("rotate user")
    whole = exported(place)
    dice = random.Random(7)
    for _ in range(150):
        copy = msgspec.convert(msgspec.to_builtins(whole), Bundle)
        member = dice.choice([copy.user, copy.host])
        which = dice.randrange(3)
        notes = (copy.roots, member.operations, [member.statement])[which]
        number = dice.randrange(len(notes))
        at = dice.randrange(len(notes[number]))
        notes[number] = notes[number][:at] + chr(dice.randrange(32, 127)) + notes[number][at + 1 :]
        if which == 2:
            member.statement = notes[0]
        if copy != whole:
            assert examined(copy).problems, notes[number]


def test_what_is_swapped_missing_or_doubled_is_found(place: KeysPlace, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    before = exported(place)
    place.do("rotate user --control")
    now = exported(place)
    other = exported(KeysPlace(tmp_path / "other", monkeypatch))

    def made(**changes: object) -> Bundle:
        return msgspec.structs.replace(now, **changes)

    wrong = [
        made(user=now.host),
        made(host=now.user),
        made(user=other.user),
        made(host=other.host),
        made(roots=other.roots),
        made(roots=[*now.roots, *other.roots]),
        made(user=before.user),  # the host obeys keys that this state does not know
        made(user=msgspec.structs.replace(now.user, operations=before.user.operations)),
        made(user=msgspec.structs.replace(now.user, operations=now.user.operations[::-1])),
        made(user=msgspec.structs.replace(now.user, operations=now.user.operations * 2)),
        made(user=msgspec.structs.replace(now.user, operations=[])),
        made(host=msgspec.structs.replace(now.host, statement=before.host.statement)),
        made(host=msgspec.structs.replace(now.host, proof=now.user.proof)),
        made(host=msgspec.structs.replace(now.host, proof=other.host.proof)),
        made(host=msgspec.structs.replace(now.host, proof=before.host.proof)),
    ]
    for number, one in enumerate(wrong):
        assert examined(one).problems, number
    assert examined(other).problems == []


def test_a_stale_statement_is_a_warning(place: KeysPlace) -> None:
    report = examined(exported(place), NOW + timedelta(days=91))
    assert report.problems == []
    assert any(finding.verdict == OPEN and "stale" in finding.text for finding in report.findings)


def test_a_host_that_obeys_former_keys_is_wrong(place: KeysPlace) -> None:
    host = bundle.from_hub(place.hub, place.folder, place.found).host
    place.do("rotate user --control")
    found = msgspec.structs.replace(exported(place), host=host)
    assert "highest control key of host-1 is not one of user-1" in examined(found).problems[0]


def test_a_revoked_identity_is_said_to_be(place: KeysPlace) -> None:
    place.do("revoke host")
    report = examined(exported(place))
    assert report.problems == []
    assert any("REVOKED" in finding.text for finding in report.findings if finding.verdict == OK)


@given(st.binary(max_size=300))
def test_garbage_is_refused(raw: bytes) -> None:
    with pytest.raises(TrustError, match="not an exported identity"):
        bundle.decode(raw, "it")


def test_what_is_too_much_or_another_format_is_refused(place: KeysPlace) -> None:
    whole = exported(place)
    for other in (msgspec.structs.replace(whole, format="ampzero/bundle/v9"),
                  msgspec.structs.replace(whole, roots=[]),
                  msgspec.structs.replace(whole, roots=whole.roots * 101)):  # fmt: skip
        with pytest.raises(TrustError):
            bundle.decode(bundle.encode(other), "it")
    with pytest.raises(TrustError):
        bundle.decode(b" " * (bundle.MAX_FILE + 1), "it")
