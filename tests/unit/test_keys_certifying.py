"""Any bytes at all where certificates, keys and what is remembered of them should be."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keys.tls.acmerenewal import _check as check_answer
from keys.tls.acmerenewal import newest
from keys.tls.authority import Authority, read_key
from keys.tls.certifying import Record, failed, read
from keys.tls.leaf import ADDRESSES, Pair, beside
from keys.tls.ownfiles import take
from lib.certificates import noted
from lib.config import Config, Tls
from lib.errors import AmpzeroError, ConfigError
from lib.instance import Instance

FUZZ = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("good")
    made = beside(folder / "server.cert")
    Authority.open(folder / "ca").issue(*made, ["localhost"], ADDRESSES)
    return made


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    tls = Tls(certificate="cert.pem", key="key.pem")
    return Instance("a", tmp_path / "var", "a", tmp_path, tmp_path / "Procfile", Config(tls=tls))


def damaged(data: st.DataObject, good: bytes) -> bytes:
    """`good` with a part replaced, or nothing of it."""
    begin = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(begin, min(len(good), begin + 40)))
    return data.draw(st.sampled_from([b"", good[:begin]])) + data.draw(st.binary(max_size=40)) + good[end:]


@FUZZ
@given(data=st.data())
def test_own_files_are_taken_or_refused_in_one_line(
    instance: Instance, pair: Pair, data: st.DataObject
) -> None:
    certificate, key = instance.directory / "cert.pem", instance.directory / "key.pem"
    raw = [path.read_bytes() for path in pair]
    which = data.draw(st.integers(0, 1))
    raw[which] = damaged(data, raw[which])
    certificate.write_bytes(raw[0])
    key.write_bytes(raw[1])
    key.chmod(0o600)
    try:
        shown = take(instance, instance.directory / "served", 0.0)
    except ConfigError as error:
        assert error.message.startswith("tls.")
        assert "\n" not in error.message
    else:
        assert shown.pair.certificate.read_bytes() == raw[0]


@FUZZ
@given(data=st.data())
def test_what_an_acme_server_answers(pair: Pair, data: st.DataObject) -> None:
    raw = damaged(data, pair.certificate.read_bytes())
    try:
        check_answer(raw, read_key(pair.key), ["localhost"])
    except AmpzeroError as error:
        assert "ACME server" in error.message


@FUZZ
@given(data=st.data())
def test_a_damaged_one_by_acme_is_passed_over(tmp_path: Path, pair: Pair, data: st.DataObject) -> None:
    folder = tmp_path / "acme/0123"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "server.cert").write_bytes(damaged(data, pair.certificate.read_bytes()))
    (folder / "server.key").write_bytes(pair.key.read_bytes())
    (folder / "server.key").chmod(0o600)
    found = newest(tmp_path / "acme", ["localhost"])
    assert found is None or found.expires > datetime.now(UTC).timestamp()


@FUZZ
@given(raw=st.binary(max_size=200) | st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_what_is_remembered_may_be_anything(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "record").write_bytes(raw)
    assert read(tmp_path / "record") is None
    with pytest.raises(ValueError, match="no TLS files"):
        noted(raw.decode(errors="replace"))


def test_a_renewal_that_failed_waits_longer_each_time_and_never_beyond_the_end() -> None:
    record = Record(
        settings="", certificate="", key="", leaf="", leaf_key="", states={}, source="acme", names=[],
        expires=time.time() + 30 * 86400, due=0.0,
    )  # fmt: skip
    waits = []
    for _ in range(40):
        record = failed(record, "no")
        waits.append(record.due - time.time())
    assert 45 < waits[0] < 75
    assert 90 < waits[1] < 150
    assert all(4.7 * 3600 < wait < 7.3 * 3600 for wait in waits[10:])
    near = msgspec.structs.replace(record, expires=time.time() + 40)
    assert failed(near, "no").due - time.time() < 13
    assert failed(msgspec.structs.replace(record, expires=0.0), "no").due - time.time() > 4 * 3600
