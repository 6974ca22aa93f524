"""The TLS files of a run: chosen, made, remembered, and looked at again when something changed."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from keys.keyfile import PrivateKey, save
from keys.tls.authority import Authority
from keys.tls.certificate import read_certificate
from keys.tls.certifying import RECORD, certify, leaf_names, make_first, read, remember_first, renew
from keys.tls.leaf import ADDRESSES, beside
from keys.tls.pin import renew_pin, verify_pin
from lib.certificates import Certificates, noted
from lib.config import Config
from lib.instance import Instance

AGO = timedelta(days=61)
"""Of 90 days 29 are left then: less than a third."""


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    directory = tmp_path / "kickass"
    (directory / "ampnode").mkdir(parents=True)
    (directory / "nginx").mkdir()
    return Instance("kickass", tmp_path / "var", "kickass", directory, directory / "amprun.yaml", Config())


def own(instance: Instance, ago: timedelta = timedelta()) -> Path:
    """A certificate as `init` makes one, so long ago."""
    pair = beside(instance.directory / "nginx/server.cert")
    authority = Authority.open(now=lambda: datetime.now(UTC) - ago)
    authority.issue(*pair, leaf_names(instance.name), ADDRESSES)
    return pair.certificate


def public(path: Path) -> object:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_key()


def test_an_instance_without_a_certificate_gets_one_that_is_used_again(instance: Instance) -> None:
    first = certify(instance)
    assert first.certificate.is_relative_to(instance.state / "tls/leaf")
    assert (first.leaf, first.leaf_key) == (first.certificate, first.key)
    assert first.key.stat().st_mode & 0o777 == 0o600
    assert first.key.parent.stat().st_mode & 0o777 == 0o700
    assert certify(instance) == first
    checked = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslclient",
         "-CAfile", str(Authority.open().ca_file), str(first.certificate)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked


def test_the_instances_own_certificate_comes_first_while_it_is_good(instance: Instance) -> None:
    mine = own(instance)
    assert certify(instance).certificate == mine
    mine.write_text("damaged")
    other = certify(instance)
    assert other.certificate != mine
    assert other.key.read_bytes() == mine.with_suffix(".key").read_bytes(), "the key stays, and so its pin"


def test_one_that_is_due_is_renewed_and_keeps_its_key_while_the_old_one_stays(instance: Instance) -> None:
    mine = own(instance, AGO)
    before = mine.read_bytes()
    renewed = certify(instance)
    assert renewed.certificate != mine
    assert public(renewed.certificate) == public(mine)
    assert mine.read_bytes() == before
    assert certify(instance) == renewed
    assert renew(instance) == renewed, "nothing is due"
    again = renew(instance, anew=True)
    assert again.certificate != renewed.certificate
    assert renewed.certificate.exists(), "what runs still names it"
    assert public(again.certificate) == public(mine)
    fresh = renew(instance, anew=True, new_key=True)
    assert public(fresh.certificate) != public(mine)
    assert certify(instance) == fresh
    (instance.state / "tls" / RECORD).unlink()
    assert certify(instance) == fresh, "also when nothing is remembered"


def test_a_new_authority_means_a_new_leaf(instance: Instance) -> None:
    before = certify(instance).certificate.read_bytes()
    for file in Authority.open().ca_file.parent.glob("ca.*"):
        file.unlink()
    assert certify(instance).certificate.read_bytes() != before


def test_old_pairs_are_removed_at_last(instance: Instance) -> None:
    for _ in range(12):
        renew(instance, anew=True)
    assert len(list((instance.state / "tls/leaf").iterdir())) == 8
    assert certify(instance).certificate.exists()


def test_what_is_remembered_in_a_damaged_file_is_not_believed(instance: Instance) -> None:
    first = certify(instance)
    record = instance.state / "tls" / RECORD
    for raw in (b'{"certificate": 3}', b"", b"\xff", record.read_bytes()[:-20]):
        record.write_bytes(raw)
        assert certify(instance) == first
    assert read(record) is not None


def test_a_good_certificate_is_known_without_loading_the_cryptography_library(instance: Instance) -> None:
    certify(instance)
    script = (
        "import sys; from pathlib import Path; from lib.config import Config; "
        "from lib.instance import Instance; from keys.tls.certifying import certify; "
        f"certify(Instance('kickass', Path({str(instance.root)!r}), 'kickass', "
        f"Path({str(instance.directory)!r}), Path({str(instance.config_file)!r}), Config())); "
        "sys.exit('cryptography' in sys.modules)"
    )
    repository = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=repository, check=False).returncode == 0


def test_another_name_or_place_is_another_record(instance: Instance) -> None:
    certify(instance)
    other = replace(instance, name="other")
    before = read(instance.state / "tls" / RECORD)
    certify(other)
    assert read(instance.state / "tls" / RECORD) != before


def test_the_hosts_key_signs_the_pin_again_when_the_certificate_is_renewed(instance: Instance) -> None:
    host = PrivateKey.generate()
    save(instance.directory / "ampnode/host-7.private.key", host)
    mine = own(instance, AGO)
    assert renew_pin(mine, instance.directory / "ampnode", mine.parent) == ""
    signed = mine.with_suffix(".pin").read_text()
    old = verify_pin(signed, read_certificate(mine), host.public)
    renewed = certify(instance)
    fresh = verify_pin(
        (instance.state / "tls/server.pin").read_text(), read_certificate(renewed.leaf), host.public
    )
    assert fresh.digest == old.digest
    assert fresh.expires - old.expires > timedelta(days=59)
    assert mine.with_suffix(".pin").read_text() == signed, "nothing is written into the instance's folder"


def test_a_new_host_key_means_a_new_pin(instance: Instance) -> None:
    key, first, second = (
        instance.directory / "ampnode/host-7.private.key",
        *(PrivateKey.generate() for _ in "12"),
    )
    save(key, first)
    own(instance)
    leaf = certify(instance).leaf
    verify_pin((instance.state / "tls/server.pin").read_text(), read_certificate(leaf), first.public)
    key.unlink()
    save(key, second)
    assert certify(instance).leaf == leaf
    verify_pin((instance.state / "tls/server.pin").read_text(), read_certificate(leaf), second.public)


def test_towards_the_end_of_the_authority_nothing_is_due_all_the_time(instance: Instance) -> None:
    years = timedelta(days=365 * 8)
    Authority.open(now=lambda: datetime.now(UTC) - years)
    certify(instance)
    known = read(instance.state / "tls" / RECORD)
    assert known is not None
    assert known.due > time.time() + 59 * 86400


def test_a_host_key_with_a_passphrase_signs_when_it_is_given(instance: Instance) -> None:
    host = PrivateKey.generate()
    save(instance.directory / "ampnode/host-7.private.key", host, "open sesame")
    own(instance, AGO)
    certify(instance)
    known = read(instance.state / "tls" / RECORD)
    assert known is not None
    assert "has a passphrase" in known.problem
    assert not (instance.state / "tls/server.pin").exists()
    renewed = renew(instance, anew=True, passphrase="open sesame")
    verify_pin((instance.state / "tls/server.pin").read_text(), read_certificate(renewed.leaf), host.public)
    known = read(instance.state / "tls" / RECORD)
    assert known is not None
    assert known.problem == ""


def test_a_host_key_that_others_can_read_signs_nothing_and_stops_no_run(instance: Instance) -> None:
    key = instance.directory / "ampnode/host-7.private.key"
    save(key, PrivateKey.generate())
    key.chmod(0o644)
    certify(instance)
    known = read(instance.state / "tls" / RECORD)
    assert known is not None
    assert "other users can read the key file" in known.problem
    assert not (instance.state / "tls/server.pin").exists()


def test_what_init_made_needs_no_look_at_the_first_run(instance: Instance) -> None:
    host = PrivateKey.generate()
    save(instance.directory / "ampnode/host-7.private.key", host, "open sesame")
    make_first(instance.directory, "kickass", "open sesame")
    verify_pin((instance.directory / "nginx/server.pin").read_text(),
               read_certificate(instance.directory / "nginx/server.cert"), host.public)  # fmt: skip
    remember_first(instance)
    known = (instance.state / "tls" / RECORD).read_bytes()
    assert certify(instance).certificate == instance.directory / "nginx/server.cert"
    assert (instance.state / "tls" / RECORD).read_bytes() == known
    assert b"passphrase" not in known
    other = replace(instance, name="other", directory=instance.directory.with_name("other"))
    remember_first(other)
    assert (instance.state / "tls" / RECORD).read_bytes() == known, "another's folder is left alone"


def test_the_files_of_a_run_as_text() -> None:
    one = Certificates(Path("/a"), Path("/b"), Path("/c"), Path("/d"), Path("/e"), "x")
    assert noted(one.text()) == one
    assert noted(replace(one, challenges=None).text()).challenges is None
    for text in ("", "{}", '{"certificate": 1}', "[]"):
        with pytest.raises(ValueError, match="no TLS files"):
            noted(text)
